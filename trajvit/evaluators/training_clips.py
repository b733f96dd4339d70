"""Which clips a probe is trained on, and which it is tested on."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from trajvit.evaluators.features import Features, known_labels


@dataclasses.dataclass(frozen=True)
class Split:
  """One probe: what it learns from, and what it is asked.

  Attributes:
    train: features of the clips to train on.
    train_rows: which of them, all labelled.
    test: features of the clips to test.
    test_rows: which of them, all labelled.
  """

  train: Features
  train_rows: np.ndarray
  test: Features
  test_rows: np.ndarray

  def labels(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes of both sides."""
    return self.train.label[self.train_rows], self.test.label[self.test_rows]

  def finite(self, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns an output of both sides, see `Features.finite`."""
    return (
      self.train.finite(name, self.train_rows),
      self.test.finite(name, self.test_rows),
    )


class TrainingClips:
  """Clips of a source of their own, or folds of those that are tested.

  Attributes:
    loader: of the source, or None for folds.
  """

  def __init__(
    self,
    loader,
    *,
    train: dict | None,
    folds: int,
    build_loader: Callable | None,
  ):
    """Builds the loader; nothing is read yet.

    Args:
      loader: of the clips to test.
      train: spec of the source to train on, as `data` of an evaluation; None
        deals the clips out to folds in turn, each tested by a probe of all
        others.
      folds: how many.
      build_loader: spec -> loader.

    Raises:
      ValueError: fewer than two folds, nobody to build the source, or the same
        clips to train on and to test.
    """
    if folds < 2:
      raise ValueError(f"folds must be at least 2, got {folds}")
    self.folds, self.loader = folds, None
    if train is None:
      return
    if build_loader is None:
      raise ValueError("train needs build_loader, which train.py offers")
    self.loader = build_loader(train)
    if self.loader.fingerprint() == loader.fingerprint():
      raise ValueError(f"train names the clips that are tested: {train}")

  def splits(
    self, features: Features, train: Features | None
  ) -> Iterator[Split]:
    """Yields the probes to be trained; each labelled clip is tested once.

    Args:
      features: of the clips to test.
      train: of the clips of `loader`, None for folds.

    Raises:
      ValueError: no features to train on where there should be, or no labelled
        clip on one of the sides, or fewer than folds.
    """
    if (train is None) != (self.loader is None):
      raise ValueError(
        "a probe needs features of its training source exactly if it has one"
      )
    known = np.flatnonzero(known_labels(features, "a probe"))
    if train is not None:
      rows = np.flatnonzero(known_labels(train, "a probe"))
      if not len(rows) or not len(known):
        raise ValueError(
          f"a probe needs clips with a label, got {len(rows)} to train on and "
          f"{len(known)} to test"
        )
      yield Split(train, rows, features, known)
      return
    if len(known) < self.folds:
      raise ValueError(
        f"a probe of {self.folds} folds needs as many clips with a label, got "
        f"{len(known)}"
      )
    fold = np.arange(len(known)) % self.folds
    for k in range(self.folds):
      yield Split(features, known[fold != k], features, known[fold == k])

  def counts(
    self, features: Features, train: Features | None
  ) -> dict[str, float]:
    """Returns what every probe tells beside its scores.

    Returns:
      chance: percent that always naming the commonest class would find.
      n_evaluated: clips with a label; n_missing: clips that could not be read.
      n_train, n_train_missing: likewise of a training source, if there is one.
    """
    labels = features.label[known_labels(features, "a probe")]
    common = np.unique(labels, return_counts=True)[1].max()
    counts = {
      "chance": 100.0 * float(common) / len(labels),
      "n_evaluated": float(len(labels)),
      "n_missing": float(len(features.missing)),
    }
    if train is not None:
      known = known_labels(train, "a probe")
      counts["n_train"] = float(known.sum())
      counts["n_train_missing"] = float(len(train.missing))
    return counts
