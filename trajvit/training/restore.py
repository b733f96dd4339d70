"""From a run directory back to a model that can be called."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax

from trajvit.models import build_model
from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import MeshConfig, RunConfig, read_config
from trajvit.training.functional import functional
from trajvit.training.packed import PackedCheckpoint, is_packed
from trajvit.training.partial import restore_partly
from trajvit.training.sharding import build_mesh, replicated
from trajvit.training.vocabulary import packed_files
from trajvit.training.workdir import find_run, read_run_config


@dataclasses.dataclass(frozen=True)
class RestoredRun:
  """A trained model.

  Attributes:
    config: of the run.
    build: returns the model with its initial values.
    apply: `apply(variables, batch, key=None) -> outputs`.
    variables: {"params", "batch_stats"}, copied to all devices.
    step: steps they were trained for.
    ema: whether they are the moving average.
    meta: of the checkpoint; `meta["model_context"]` is what the data told the
      model: `clip_shape`, `max_tracks`, `vocab_size`, `text_length`.
  """

  config: RunConfig
  build: Callable
  apply: Callable
  variables: dict
  step: int
  ema: bool
  meta: dict


def restore_run(
  workdir: str | Path,
  *,
  step: int | str | None = None,
  ema: bool | None = None,
  allow_missing: bool = False,
) -> RestoredRun:
  """Returns the model of a run as one of its checkpoints has it.

  Args:
    workdir: of the run, packed or not, or a name in `workdir.SHIPPED`.
    step: which checkpoint; None = the newest, "best" = the best by the metric
      of the config.
    ema: whether to take the moving average of the parameters; None = where the
      run keeps one.
    allow_missing: whether arrays that the checkpoint lacks keep their initial
      values, and those that the model lacks are left out; see `partial`.

  Raises:
    FileNotFoundError: no run, or no such checkpoint.
    ValueError: `ema` of a run that keeps none, a packed run that is damaged, or
      a checkpoint whose arrays are not those of the model.
  """
  workdir = find_run(workdir)
  values = read_run_config(workdir)
  if is_packed(workdir):
    values["data"] = packed_files(values["data"], workdir)
  config = read_config(values)
  keeps_ema = config.optimizer.ema_decay > 0
  ema = keeps_ema if ema is None else ema
  if ema and not keeps_ema:
    raise ValueError("this run keeps no moving average: ema_decay is 0")
  if is_packed(workdir):
    checkpoints = PackedCheckpoint(workdir)
  else:
    checkpoints = Checkpoints(
      workdir / "checkpoints", config.checkpoint, read_only=True
    )
  step = checkpoints.find(step)
  meta = checkpoints.meta(step)

  build = builder(config, meta["model_context"])
  init, apply = functional(build)
  everywhere = replicated(build_mesh(MeshConfig()))
  shapes = jax.eval_shape(init)
  like = abstract(shapes, jax.tree.map(lambda _: everywhere, shapes))
  if allow_missing and not is_packed(workdir):
    variables = restore_partly(checkpoints, like, init(), step=step, ema=ema)
  else:
    variables = checkpoints.restore_variables(like, step=step, ema=ema)
  checkpoints.close()
  return RestoredRun(config, build, apply, variables, step, ema, meta)


def builder(config: RunConfig, model_context: dict) -> Callable:
  """Returns a function that builds the model of a run.

  Args:
    config: of the run.
    model_context: what the data told the model, as in `RestoredRun.meta`.
  """
  clip_shape = tuple(model_context["clip_shape"])  # JSON has lists
  context = model_context | {"clip_shape": clip_shape}

  def build():
    return build_model(config.model, seed=config.seed, **context)

  return build
