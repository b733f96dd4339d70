"""Everything that a training step changes."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state of a run between two steps.

  Attributes:
    step: [] int32, steps done.
    params: nested dict of float32 arrays.
    batch_stats: nested dict of running statistics, {} where there are none.
    opt_state: of the optimizer.
    ema: moving average of `params`, or None where none is kept.
    halted: [] bool; True once a loss or gradient was not finite. A halted state
      no longer changes: it is the one from before that step.
  """

  step: Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  ema: dict | None
  halted: Array

  @property
  def variables(self) -> dict:
    """What to evaluate: the moving average where there is one."""
    params = self.params if self.ema is None else self.ema
    return {"params": params, "batch_stats": self.batch_stats}


jax.tree_util.register_dataclass(
  TrainState,
  data_fields=[field.name for field in dataclasses.fields(TrainState)],
  meta_fields=[],
)


def init_state(
  variables: dict, tx: optax.GradientTransformation, *, ema: bool
) -> TrainState:
  """Returns the state before the first step; `ema` starts at the parameters."""
  params = variables["params"]
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables["batch_stats"],
    opt_state=tx.init(params),
    # A copy: the step gives its inputs away, and no buffer can go twice.
    ema=jax.tree.map(jnp.copy, params) if ema else None,
    halted=jnp.zeros((), bool),
  )
