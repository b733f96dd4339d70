"""Clips of an evaluation, for pictures of what runs make of them."""

import contextlib
import dataclasses

import numpy as np

from trajvit.data import build_loader
from trajvit.training.config import RunConfig
from trajvit.types import Batch


@dataclasses.dataclass(frozen=True)
class RunClips:
  """Clips of an evaluation, to which a run has something to show.

  Attributes:
    run: name of the run's directory.
    step: steps it was trained for.
    evaluation: key of the evaluation.
    names: of the clips.
    batch: the clips, text left out.
  """

  run: str
  step: int
  evaluation: str
  names: tuple[str, ...]
  batch: Batch


def choose_evaluation(config: RunConfig, key: str | None, kind: str) -> str:
  """Returns the key of the evaluation to take clips from.

  Args:
    config: of a run.
    key: in the config; None = the first that is of `kind`, else the first.
    kind: a name in EVALUATORS.

  Raises:
    ValueError: no such evaluation.
  """
  evals = config.evals
  if key is None and evals:
    fitting = [k for k in evals if evals[k].spec["name"] == kind]
    return (fitting or list(evals))[0]
  if key not in evals:
    raise ValueError(
      f"no such evaluation in the config: {key}; "
      f"known: {', '.join(evals) or 'none'}"
    )
  return key


def read_clips(
  config: RunConfig, key: str, count: int
) -> tuple[Batch, tuple[str, ...]]:
  """Returns the first `count` clips of an evaluation, and their names.

  Raises:
    ValueError: `count` is below 1, or none of the clips can be read.
  """
  if count < 1:
    raise ValueError(f"the number of clips must be at least 1, got {count}")
  source = dict(config.evals[key].data, batch_size=count)
  data = dict(config.data, text=None, packing=None)
  loader = build_loader(data, source, seed=config.seed)
  with contextlib.closing(loader.evaluate()) as batches:
    batch, info = next(batches)
  if not batch.valid.any():
    raise ValueError(f"none of the first {count} clips of {key} can be read")
  return batch, info.names


def check_same_clips(one: RunClips, other: RunClips) -> None:
  """Raises ValueError where frames of the two cannot stand side by side."""
  times = [run.batch.clip.times for run in (one, other)]
  if one.names != other.names or not np.array_equal(*times):
    raise ValueError(
      f"{one.run} and {other.run} look at different clips or frames in "
      f"{one.evaluation}: {times[0].shape[1]} frames of {', '.join(one.names)} "
      f"and {times[1].shape[1]} frames of {', '.join(other.names)}"
    )
