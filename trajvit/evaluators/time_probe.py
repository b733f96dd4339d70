"""What an embedding keeps of time: order, and motion no frame shows alone."""

import dataclasses

import numpy as np

from trajvit.evaluators.bootstrap import check_resamples, estimate, means
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features, known_labels
from trajvit.evaluators.frame_order import (
  Reordered,
  backwards,
  middle_only,
  shuffled,
)
from trajvit.evaluators.ridge import ridge_classes
from trajvit.evaluators.training_clips import TrainingClips

PLAIN, STILL = "video", "still"
ORDERS = {"reversed": backwards, "shuffled": shuffled}


class TimeProbe:
  """Two questions to frozen embeddings, answered by ridge regression.

  Order: is a clip played forwards, or backwards (or shuffled)? Both versions of
  a clip are on the same side of every split, so that a probe cannot recognise
  it. An embedding that does not know the order is equal for both, and the probe
  right in exactly one of two.

  Motion: how much better is the class found from the clip than from its middle
  frame alone, repeated? Where classes are motions, what a reducer leaves of the
  difference is what it leaves of time.

  Nothing is localised, and no caption is read.
  """

  def __init__(
    self,
    loader,
    *,
    train: dict | None = None,
    classes: bool = True,
    folds: int = 4,
    penalty: float = 1e-2,
    seed: int = 0,
    bootstrap: int = 0,
    build_loader=None,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo), with labels for `classes`.
      train: spec of the source to train on; None takes folds.
      classes: whether the second question is asked.
      folds: how many parts the clips are cut into.
      penalty: of the regression.
      seed: of the shuffles.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.
      build_loader: see TrainingClips.

    Raises:
      ValueError: as TrainingClips, or `bootstrap` is negative.
    """
    self.loader, self.classes, self.penalty = loader, classes, penalty
    self.seed, self.bootstrap = seed, check_resamples(bootstrap)
    self._clips = TrainingClips(
      loader, train=train, folds=folds, build_loader=build_loader
    )
    self.train_loader = self._clips.loader

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics; embeds every clip once for each version of it.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E].
      variables: of the model.

    Returns:
      order_reversed: percent of forward and reversed clips told apart; 50 where
        the embedding does not know the order.
      order_shuffled: the same of forward and shuffled clips.
      accuracy: percent of the labelled clips whose class is found.
      accuracy_middle_frame: the same of clips that stand still.
      time_gain: the first less the second, points.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`.
      chance, n_evaluated, ...: see `TrainingClips.counts`; without `classes`
        n_evaluated and n_missing, of all clips.

    Raises:
      ValueError: as TrainingClips, or clips have one frame.
      FloatingPointError: an embedding is not finite.
    """

    features, train = (
      None if loader is None else self._versions(loader, predict, variables)
      for loader in (self.loader, self.train_loader)
    )
    hits = {
      f"order_{name}": self._order_hits(features, train, name)
      for name in ORDERS
    }
    metrics = estimate(means(hits), features.clip_id, self.bootstrap)
    if not self.classes:
      return metrics | {
        "n_evaluated": float(len(features)),
        "n_missing": float(len(features.missing)),
      }
    rows = known_labels(features, "a probe")
    moving, still = (
      self._class_hits(features, train, name)[rows] for name in (PLAIN, STILL)
    )
    scores = {
      "accuracy": moving,
      "accuracy_middle_frame": still,
      "time_gain": moving - still,
    }
    metrics |= estimate(means(scores), features.clip_id[rows], self.bootstrap)
    return metrics | self._clips.counts(features, train)

  def _versions(self, loader, predict, variables) -> Features:
    """The embeddings of all versions of the clips, by name."""
    features = embed(loader, predict, variables, [PLAIN])
    outputs = dict(features.outputs)
    orders = ORDERS | ({STILL: middle_only} if self.classes else {})
    for name, order in orders.items():
      changed = Reordered(loader, order, seed=self.seed)
      found = embed(changed, predict, variables, [PLAIN])
      if found.names != features.names:
        raise ValueError(
          f"{len(features)} clips can be read, and {name} {len(found)}"
        )
      outputs[name] = found.outputs[PLAIN]
    return dataclasses.replace(features, outputs=outputs)

  def _order_hits(self, features, train, name) -> np.ndarray:
    """Percent of the two versions of each clip that are told apart, [n]."""
    features, train = (
      x and dataclasses.replace(x, label=np.zeros(len(x), np.int32))
      for x in (features, train)
    )
    hits = np.zeros(len(features))
    for split in self._clips.splits(features, train):
      (x, test), (changed, test_changed) = map(split.finite, (PLAIN, name))
      played = np.repeat([0, 1], len(x))
      found = ridge_classes(
        np.concatenate([x, changed]),
        played,
        np.concatenate([test, test_changed]),
        penalty=self.penalty,
      )
      truth = np.array([[0], [1]])
      right = found.reshape(2, -1) == truth  # [2, tested]
      hits[split.test_rows] = 100.0 * right.mean(0)
    return hits

  def _class_hits(self, features, train, name) -> np.ndarray:
    """100 where the class of a labelled clip is found, [n]."""
    hits = np.zeros(len(features))
    for split in self._clips.splits(features, train):
      labels, truth = split.labels()
      x, test = split.finite(name)
      found = ridge_classes(x, labels, test, penalty=self.penalty)
      hits[split.test_rows] = 100.0 * (found == truth)
    return hits
