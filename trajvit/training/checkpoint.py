"""Checkpoints with Orbax: atomic, the newest and the best, any mesh.

A checkpoint is `<step>/{state,data,meta}`: arrays, what the order of the data
depends on, and where the numbers come from. The order of the data is a pure
function of (seed, step), so that no iterator is saved.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from trajvit.training.config import CheckpointConfig
from trajvit.training.functional import named_leaves
from trajvit.training.state import TrainState


class Checkpoints:
  """The checkpoints of a run directory.

  Args:
    directory: made if missing; a folder below it for every step.
    config: which to keep.
    read_only: neither makes the directory nor tidies it up.
  """

  def __init__(
    self,
    directory: str | Path,
    config: CheckpointConfig,
    *,
    read_only: bool = False,
  ):
    less = config.best_metric.startswith("-")
    self._metric = config.best_metric.removeprefix("-")

    def score(metrics):
      return -metrics[self._metric] if less else metrics[self._metric]

    keep = [policies.LatestN(config.keep_last)]
    if config.keep_best:
      keep.append(
        policies.BestN(
          get_metric_fn=score,
          n=config.keep_best,
          keep_checkpoints_without_metrics=False,
        )
      )
    options = ocp.CheckpointManagerOptions(
      create=not read_only,
      best_fn=score if config.keep_best else None,
      preservation_policy=policies.AnyPreservationPolicy(keep),
      cleanup_tmp_directories=not read_only,
    )
    self._directory = Path(directory).resolve()
    self._manager = ocp.CheckpointManager(self._directory, options=options)

  def latest_step(self) -> int | None:
    """Returns the newest step saved, or None."""
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    state: TrainState,
    *,
    data: dict,
    meta: dict,
    metrics: dict | None = None,
  ) -> None:
    """Writes a checkpoint, the files in the background.

    Args:
      step: steps done.
      state: may be given away as soon as this returns.
      data: what the order of the data depends on, plain values.
      meta: plain values for people and tools.
      metrics: of the evaluations at this step; the best are chosen among the
        checkpoints that have the metric.
    """
    if step in self._manager.all_steps():
      return
    ranked = metrics and self._metric in metrics
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(_as_dict(state)),
        data=ocp.args.JsonSave(data),
        meta=ocp.args.JsonSave(meta),
      ),
      metrics={self._metric: float(metrics[self._metric])} if ranked else None,
      force=True,
    )

  def restore(
    self, like: TrainState, *, step: int | str | None = None
  ) -> tuple[TrainState, dict, dict]:
    """Returns (state, data, meta) of a checkpoint.

    Args:
      like: ShapeDtypeStructs with shardings: the arrays come in that layout,
        whatever layout they were saved in.
      step: as in `find`.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it has weights alone, as those that `trajvit ckpt` makes.
    """
    step = self.find(step)
    if "opt_state" not in self.saved_state(step):
      raise ValueError(
        f"checkpoint {step} in {self._directory} has weights alone, with which "
        "no run can go on; another one can start from them by config.warm_start"
      )
    found = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=_restore_args(_as_dict(like)),
        data=ocp.args.JsonRestore(),
        meta=ocp.args.JsonRestore(),
      ),
    )
    state = TrainState(**({"ema": None} | dict(found["state"])))
    return state, found["data"], found["meta"]

  def restore_variables(
    self,
    like: dict,
    *,
    step: int | str | None = None,
    ema: bool = False,
    exact: bool = True,
  ) -> dict:
    """Returns {"params", "batch_stats"} and reads nothing else.

    Args:
      like: ShapeDtypeStructs with shardings.
      step: as in `find`.
      ema: the moving average in place of the parameters.
      exact: whether the checkpoint must have these arrays and no others.

    Raises:
      ValueError: with `exact`, the checkpoint has other arrays.
    """
    name = "ema" if ema else "params"
    wanted = {name: like["params"], "batch_stats": like["batch_stats"]}
    unlike = differences(self.saved_variables(step, ema=ema), like)
    if exact and unlike:
      raise ValueError(
        f"checkpoint {self.find(step)} in {self._directory} does not fit: "
        f"{listed(unlike)}"
      )
    args = ocp.args.Composite(state=_restore_args(wanted, partial=True))
    found = self._manager.restore(self.find(step), args=args)["state"]
    return {"params": found[name], "batch_stats": found["batch_stats"]}

  def saved_variables(
    self, step: int | str | None = None, *, ema: bool = False
  ) -> dict:
    """Returns {"params", "batch_stats"} as saved, ShapeDtypeStructs."""
    saved = self.saved_state(step)
    params = saved.get("ema" if ema else "params", {})
    return {"params": params, "batch_stats": saved.get("batch_stats", {})}

  def restore_on_host(
    self, parts: Sequence[str], *, step: int | str | None = None
  ) -> dict:
    """Returns parts of the state as NumPy arrays, without model or mesh.

    Args:
      parts: fields of TrainState that were saved, such as "params".
      step: as in `find`.
    """
    saved = self.saved_state(step)
    wanted = {name: saved[name] for name in parts if saved[name]}
    restore_args = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
    )
    args = ocp.args.PyTreeRestore(
      wanted, restore_args=restore_args, partial_restore=True
    )
    found = self._manager.restore(
      self.find(step), args=ocp.args.Composite(state=args)
    )["state"]
    return {name: found.get(name, {}) for name in parts}

  def saved_state(self, step: int | str | None = None) -> dict:
    """Returns the state as it was saved, each array by its shape and dtype.

    Fields of TrainState, and below them nested dicts and lists of
    ShapeDtypeStructs; no array is read.
    """
    step = self.find(step)
    self._manager.wait_until_finished()  # it may still be written
    path = self._directory / str(step) / "state"
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(path).tree
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(tree)
    )

  def data(self, step: int | str | None = None) -> dict:
    """Returns what `save` was given as `data`."""
    return self._json("data", step)

  def meta(self, step: int | str | None = None) -> dict:
    """Returns what `save` was given as `meta`."""
    return self._json("meta", step)

  def steps(self) -> list[int]:
    """Returns the steps that were saved, in order."""
    return sorted(self._manager.all_steps())

  def find(self, step: int | str | None = None) -> int:
    """Returns a step that was saved.

    Args:
      step: the number; None = the newest; "best" = the best by the metric of
        the config.

    Raises:
      FileNotFoundError: there is none.
      ValueError: "best" in a run that ranks no checkpoints.
    """
    saved = self.steps()
    if step == "best":
      if not self._metric:
        raise ValueError(
          "this run ranks no checkpoints: config.checkpoint.keep_best is 0"
        )
      step = self._manager.best_step()
    elif step is None:
      step = saved[-1] if saved else None
    if step not in saved:
      raise FileNotFoundError(
        f"no such checkpoint in {self._directory}; saved steps: {saved}"
      )
    return step

  def reached_preemption(self, step: int) -> bool:
    """Returns, the same on all processes, whether the machines must go."""
    return self._manager.reached_preemption(step)

  def close(self) -> None:
    """Waits for what is being written."""
    self._manager.wait_until_finished()
    self._manager.close()

  def _json(self, item, step):
    args = ocp.args.Composite(**{item: ocp.args.JsonRestore()})
    return self._manager.restore(self.find(step), args=args)[item]


def check_data_record(saved: dict, current: dict) -> None:
  """Compares what the order of the data depends on with what was saved.

  Raises:
    ValueError: they differ; going on would not be the same run.
  """
  differing = [
    f"{key} was {saved.get(key)!r} and is {current.get(key)!r}"
    for key in sorted(set(saved) | set(current))
    if key != "step" and saved.get(key) != current.get(key)
  ]
  if differing:
    raise ValueError(
      "the data is not that of the checkpoint: " + "; ".join(differing)
    )


def differences(saved: dict, wanted: dict) -> list[str]:
  """Returns what is wrong with the arrays of a checkpoint, a line each.

  Args:
    saved: nested dict of arrays or shapes.
    wanted: likewise, of the model.
  """
  saved, wanted = named_leaves(saved), named_leaves(wanted)
  lines = []
  for name in sorted(saved.keys() | wanted.keys()):
    found, expected = saved.get(name), wanted.get(name)
    if expected is None:
      lines.append(f"{name} is in the checkpoint and not in the model")
    elif found is None:
      lines.append(f"{name} is in the model and not in the checkpoint")
    elif found.shape != expected.shape:
      lines.append(
        f"{name} is {found.shape} in the checkpoint and {expected.shape} in "
        "the model"
      )
  return lines


def listed(lines: list[str]) -> str:
  """Returns the first lines, and how many more there are."""
  more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
  return "; ".join(lines[:5]) + more


def abstract(tree, shardings):
  """Returns ShapeDtypeStructs of `tree`, arrays or shapes, with shardings."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree,
    shardings,
  )


def _restore_args(like, partial=False):
  """Arrays in the layout of `like`, and no others where `partial`."""
  return ocp.args.PyTreeRestore(
    like,
    restore_args=ocp.checkpoint_utils.construct_restore_args(like),
    partial_restore=partial,
  )


def _as_dict(state):
  """The fields by name; a part that is None or empty is not written."""
  fields = {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(state)
  }
  return {name: value for name, value in fields.items() if value is not None}
