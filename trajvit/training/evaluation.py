"""Runs an evaluator and writes its result with the manifest that it needs."""

import dataclasses
from collections.abc import Callable
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
      depend on besides is in its `manifest`, a dict, if it has one.
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
    directory: str | Path,
  ) -> dict[str, float]:
    """Evaluates, writes `<directory>/<key>.json`, returns {"<key>/<metric>"}.

    Args:
      predict: `(variables, batch) -> outputs`.
      variables: of the model.
      step: steps they were trained for.
      directory: for the result, or None to write nothing.
    """
    metrics = self.evaluator.run(predict, variables)
    if directory is not None:
      result = {"metrics": metrics, "manifest": self._manifest(metrics, step)}
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
      "frames": clip.frames,
      "size": clip.size,
      "sampling": clip.sampler,
      "dtype": self.config.model.get("dtype", "float32"),
      "device": device(),
      "commit": commit(),
      "versions": versions(),
      **getattr(self.evaluator, "manifest", {}),
    }
