"""Nearest neighbours: what is in an embedding without any training."""

import numpy as np

from trajvit.evaluators.bootstrap import check_resamples, estimate, means
from trajvit.evaluators.embed import embed_both
from trajvit.evaluators.features import Features
from trajvit.evaluators.prompts import unit_rows
from trajvit.evaluators.training_clips import TrainingClips

_CELLS = 2**24  # similarities held at a time


class NearestNeighbours:
  """How often the nearest embeddings with a label have the class of a clip.

  Neighbours are those of the highest cosine. Each votes for its class with
  weight exp(cosine / temperature), or with one vote, and all `k` are done in
  one pass. Source: DINO, arXiv:2104.14294, and Wu et al., arXiv:1805.01978.

  A tie counts against us: another class with as many votes stands in front. Of
  clips that are equally near, the first ones are neighbours.

  Attributes:
    train_loader: of the training source, or None.
  """

  wanted = ("video",)

  def __init__(
    self,
    loader,
    *,
    train: dict | None = None,
    k: tuple[int, ...] = (1, 5, 10, 20),
    temperature: float = 0.07,
    folds: int = 4,
    bootstrap: int = 0,
    build_loader=None,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      train: spec of the source of neighbours; None takes folds.
      k: numbers of neighbours.
      temperature: of the weights.
      folds: how many parts the clips are cut into.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.
      build_loader: see TrainingClips.

    Raises:
      ValueError: as TrainingClips; no `k`, or one below 1; `temperature` is not
        above 0; or `bootstrap` is negative.
    """
    if not k or min(k) < 1:
      raise ValueError(f"k must have numbers of at least 1, got {k}")
    if not temperature > 0:
      raise ValueError(f"temperature must be above 0, got {temperature}")
    self.loader, self.k, self.temperature = loader, tuple(k), temperature
    self.bootstrap = check_resamples(bootstrap)
    self._clips = TrainingClips(
      loader, train=train, folds=folds, build_loader=build_loader
    )
    self.train_loader = self._clips.loader

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E].
      variables: of the model.
    """
    return self.score(*embed_both(self, predict, variables))

  def score(
    self, features: Features, train: Features | None = None
  ) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: "video".
      train: of the clips of `train_loader`, likewise.

    Returns:
      weighted@<k>: percent of the labelled clips, votes weighted.
      majority@<k>: one vote each.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`; the
        neighbours stay.
      chance, n_evaluated, n_missing, ...: see `TrainingClips.counts`.

    Raises:
      ValueError: as TrainingClips, or more neighbours than clips.
      FloatingPointError: an embedding is not finite.
    """
    names = [f"{kind}@{k}" for k in self.k for kind in ("weighted", "majority")]
    hits = np.zeros((len(features), len(names)))
    tested = []
    for split in self._clips.splits(features, train):
      tested.append(split.test_rows)
      x, test = split.finite("video")
      hits[split.test_rows] = neighbour_hits(
        x, *split.labels(), test, k=self.k, temperature=self.temperature
      )
    rows = np.sort(np.concatenate(tested))
    columns = 100.0 * hits[rows].T
    metrics = estimate(
      means(dict(zip(names, columns, strict=True))),
      features.clip_id[rows],
      self.bootstrap,
    )
    return metrics | self._clips.counts(features, train)


def neighbour_hits(
  vectors: np.ndarray,
  labels: np.ndarray,
  truth: np.ndarray,
  test: np.ndarray,
  *,
  k: tuple[int, ...],
  temperature: float,
) -> np.ndarray:
  """Returns which clips get their class from their neighbours.

  Args:
    vectors: [n, E] float, of the neighbours.
    labels: [n] integers, theirs.
    truth: [m] integers, the classes of those tested.
    test: [m, E] float, their vectors.
    k: numbers of neighbours.
    temperature: of the weights.

  Returns:
    [m, 2 len(k)] bool: for each k, by weighted votes and by one vote each.

  Raises:
    ValueError: more neighbours than vectors.
  """
  most = max(k)
  if most > len(vectors):
    raise ValueError(f"k is {most}, and there are {len(vectors)} neighbours")
  vectors, test = (unit_rows(x.astype(np.float64)) for x in (vectors, test))
  classes, votes_for = np.unique(labels, return_inverse=True)
  rows = max(1, _CELLS // len(vectors))
  parts = []
  for i in range(0, len(test), rows):
    cosine = test[i : i + rows] @ vectors.T
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :most]  # [r, most]
    # The largest weight is 1: a cosine of 1 over a small temperature is big.
    weight = np.take_along_axis(cosine, near, 1)
    weight = np.exp((weight - weight[:, :1]) / temperature)
    right = classes == truth[i : i + rows, None]  # [r, C]
    hits = [
      _wins(votes_for[near[:, :count]], w[:, :count], right)
      for count in k
      for w in (weight, np.ones_like(weight))
    ]
    parts.append(np.stack(hits, 1))
  return np.concatenate(parts)


def _wins(voted, weight, right):
  """Whether the right class [r, C] has more votes than any other, [r] bool."""
  r, count = right.shape
  cell = voted + count * np.arange(r)[:, None]
  votes = np.bincount(cell.ravel(), weight.ravel(), minlength=r * count)
  votes = votes.reshape(r, count)
  own = np.where(right, votes, -np.inf).max(1)  # -inf: no such class to learn
  return own > np.where(right, -np.inf, votes).max(1)
