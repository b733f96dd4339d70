"""From a config to its compiled step, and to where the state of it lies.

`train.py` takes it for the devices at hand, `trajvit plan` for others.
"""

import dataclasses
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.checkpoint import abstract
from trajvit.training.config import RunConfig
from trajvit.training.functional import functional
from trajvit.training.optim import build_optimizer
from trajvit.training.sharding import (
  batch_sharding,
  default_rules,
  on_mesh,
  replicated,
  state_shardings,
)
from trajvit.training.state import TrainState, init_state
from trajvit.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Training:
  """What a run computes; nothing of it has been computed yet.

  Attributes:
    apply: of the model, see `training.functional`.
    first_state: pure; returns the state before the first step.
    shapes: of a state.
    shardings: where a state lies.
    step: the compiled `(state, batch, key) -> (state, metrics)`, see
      `training.step`. It gives the state that it gets away.
    mesh: of the devices.
  """

  apply: Callable
  first_state: Callable[[], TrainState]
  shapes: TrainState
  shardings: TrainState
  step: Callable
  mesh: Mesh

  def start(self) -> TrainState:
    """Returns the state before the first step, on the mesh."""
    return jax.jit(self.first_state, out_shardings=self.shardings)()

  def trace(self, batch):
    """Returns the step traced with shapes in place of arrays.

    Args:
      batch: of the step, with anything that has a shape for arrays.
    """

    def laid_out(x, sharding):
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return self.step.trace(
      abstract(self.shapes, self.shardings),
      jax.tree.map(lambda x: laid_out(x, batch_sharding(self.mesh)), batch),
      laid_out(key, replicated(self.mesh)),
    )


def build_training(
  config: RunConfig, mesh: Mesh, model_context: dict
) -> Training:
  """Returns what a run computes on a mesh.

  Args:
    config: of the run.
    mesh: of devices that are at hand or, to compile only, of others.
    model_context: what the data tells the model, see `Loader.model_context`.

  Raises:
    ValueError: something in the config that nobody reads or cannot be.
  """
  options = config.optimizer
  init, apply = functional(
    lambda: build_model(config.model, seed=config.seed, **model_context)
  )
  tx, schedule = build_optimizer(options, config.total_steps)

  def first_state():
    return init_state(init(), tx, ema=options.ema_decay > 0)

  shapes = jax.eval_shape(first_state)
  shardings = state_shardings(shapes, mesh, default_rules(mesh), tx)
  step = make_train_step(
    apply,
    build_objectives(config.objectives),
    tx,
    schedule,
    accumulate_steps=options.accumulate_steps,
    ema_decay=options.ema_decay,
    frozen=options.frozen,
  )
  step = jax.jit(
    on_mesh(step, mesh),
    donate_argnums=0,
    out_shardings=(shardings, replicated(mesh)),
  )
  return Training(apply, first_state, shapes, shardings, step, mesh)
