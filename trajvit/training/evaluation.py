"""Runs evaluators and writes their results with the manifests they need."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from trajvit.training.config import RunConfig
from trajvit.training.provenance import (
  commit,
  device,
  versions,
  write_json,
)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """An evaluation of a run.

  Attributes:
    key: its name in the config.
    config: of the whole run.
    loader: of the clips; `fingerprint()`, `clip`, `failures` and `source` tell
      the manifest what was evaluated, and how.
    evaluator: `run(predict, variables) -> dict[str, float]`; what its numbers
      depend on besides is in its `manifest`, a dict, if it has one, and what
      it found that is no single number in its `details`, likewise.
  """

  key: str
  config: RunConfig
  loader: object
  evaluator: object

  def due(self, step: int) -> bool:
    """Returns whether it runs after `step`; at the end all do."""
    every = self.config.evals[self.key].every
    at_end = step == self.config.total_steps
    return at_end or (every > 0 and step % every == 0)

  def run(
    self,
    predict: Callable,
    variables: dict,
    *,
    step: int,
    directory: str | Path | None,
    features=None,
  ) -> dict[str, float]:
    """Evaluates, writes `<directory>/<key>.json`, returns {"<key>/<metric>"}.

    Args:
      predict: `(variables, batch) -> outputs`.
      variables: of the model.
      step: steps they were trained for.
      directory: for the result, or None to write nothing.
      features: what the evaluator scores, where they were made already.
    """
    if features is None:
      metrics = self.evaluator.run(predict, variables)
      missing = dict(self.loader.failures.reasons)
    else:
      metrics = self.evaluator.score(features)
      missing = dict(features.missing)
    if directory is not None:
      result = {
        "metrics": metrics,
        "manifest": self._manifest(metrics, step),
        "missing": missing,
        "details": getattr(self.evaluator, "details", {}),
      }
      write_json(Path(directory) / f"{self.key}.json", result)
    return {f"{self.key}/{name}": value for name, value in metrics.items()}

  def _manifest(self, metrics, step):
    """What two results must have in common to stand in one table."""
    setting = self.config.evals[self.key]
    clip = self.loader.clip
    return {
      "step": step,
      "evaluator": setting.spec,
      "data": setting.data,
      "data_hash": self.loader.fingerprint(),
      "tracks_are_ground_truth": getattr(
        self.loader.source, "tracks_are_ground_truth", None
      ),
      "clips_evaluated": metrics.get("n_evaluated"),
      "clips_missing": metrics.get("n_missing"),
      "clips_failed": self.loader.failures.failures,
      "protocol": getattr(self.loader.source, "protocol", None),
      "frames": clip.frames,
      "size": clip.size,
      "sampling": clip.sampler,
      "resize_and_crop": clip.augment,
      "views": self.loader.views,
      "dtype": self.config.model.get("dtype", "float32"),
      "device": device(),
      "commit": commit(),
      "versions": versions(),
      **getattr(self.evaluator, "manifest", {}),
    }


def evaluate_all(
  evaluations: Sequence[Evaluation],
  predict: Callable,
  variables: dict,
  *,
  step: int,
  directory: str | Path | None,
  embed: Callable,
) -> dict[str, float]:
  """Runs evaluations; those of the same clips share one pass over them.

  Args:
    evaluations: any number.
    predict: `(variables, batch) -> outputs`.
    variables: of the model.
    step: steps they were trained for.
    directory: for the results, or None to write nothing.
    embed: (loader, predict, variables, wanted) -> Features, the pass.

  Returns:
    {"<key>/<metric>"} of all of them.
  """
  groups: dict = {}
  for evaluation in evaluations:
    groups.setdefault(_same_pass(evaluation), []).append(evaluation)
  results = {}
  for group in groups.values():
    wanted = {name for one in group for name in _wanted(one)}
    features = None
    if wanted:
      features = embed(group[0].loader, predict, variables, wanted)
    for evaluation in group:
      results |= evaluation.run(
        predict, variables, step=step, directory=directory, features=features
      )
  return results


def _wanted(evaluation) -> tuple[str, ...]:
  """What an evaluator scores; () for one that needs a pass of its own."""
  return tuple(getattr(evaluation.evaluator, "wanted", ()))


def _same_pass(evaluation):
  """Equal for evaluations that one pass over the clips serves."""
  if not _wanted(evaluation):
    return evaluation.key
  loader = evaluation.loader
  return loader.fingerprint(), loader.views, loader.captions
