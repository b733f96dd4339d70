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
    features: tuple = (),
  ) -> dict[str, float]:
    """Evaluates, writes `<directory>/<key>.json`, returns {"<key>/<metric>"}.

    Args:
      predict: `(variables, batch) -> outputs`.
      variables: of the model.
      step: steps they were trained for.
      directory: for the result, or None to write nothing.
      features: what the evaluator scores, where they were made already: of its
        clips, then of those that it trains on, if there are such.
    """
    if features:
      metrics = self.evaluator.score(*features)
      missing = dict(features[0].missing)
    else:
      metrics = self.evaluator.run(predict, variables)
      missing = dict(self.loader.failures.reasons)
    if directory is not None:
      result = {
        "metrics": metrics,
        "manifest": self._manifest(metrics, step),
        "missing": missing,
        "details": getattr(self.evaluator, "details", {}),
      }
      write_json(Path(directory) / f"{self.key}.json", result)
    return {f"{self.key}/{name}": value for name, value in metrics.items()}

  def _training(self):
    """Of a probe that is trained on clips of their own, which those are."""
    train = getattr(self.evaluator, "train_loader", None)
    return {} if train is None else {"train_data_hash": train.fingerprint()}

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
      **self._training(),
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
    embed: (loader, predict, variables, wanted, prompts) -> Features, the pass.

  Returns:
    {"<key>/<metric>"} of all of them.
  """
  passes: dict = {}
  for evaluation in evaluations:
    for loader in _loaders(evaluation.evaluator, evaluation.loader):
      one = passes.setdefault(_same_pass(loader), _Pass(loader))
      one.add(evaluation.evaluator)
  results = {}
  for evaluation in evaluations:
    loaders = _loaders(evaluation.evaluator, evaluation.loader)
    results |= evaluation.run(
      predict,
      variables,
      step=step,
      directory=directory,
      features=tuple(
        passes[_same_pass(loader)].take(embed, predict, variables)
        for loader in loaders
      ),
    )
  return results


class _Pass:
  """One pass over clips: made when it is first asked for, then kept.

  It is let go once all who asked for it have had it.
  """

  def __init__(self, loader):
    self._loader = loader
    self._wanted, self._prompts, self._users = set(), {}, 0
    self._made = None

  def add(self, evaluator) -> None:
    self._wanted |= set(evaluator.wanted)
    self._prompts |= dict.fromkeys(getattr(evaluator, "prompts", ()))
    self._users += 1

  def take(self, embed, predict, variables):
    if self._made is None:
      self._made = embed(
        self._loader, predict, variables, self._wanted, list(self._prompts)
      )
    made, self._users = self._made, self._users - 1
    if not self._users:
      self._made = None
    return made


def _loaders(evaluator, loader) -> tuple:
  """The clips whose features are scored: () where it makes its own pass."""
  if not hasattr(evaluator, "wanted"):
    return ()
  train = getattr(evaluator, "train_loader", None)
  return (loader,) if train is None else (loader, train)


def _same_pass(loader) -> tuple:
  """Equal for loaders that one pass over the clips serves."""
  return loader.fingerprint(), loader.views, loader.captions
