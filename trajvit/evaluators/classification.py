"""Classification: how often the class of a clip is found."""

from collections.abc import Sequence

import numpy as np

from trajvit.evaluators.bootstrap import (
  Statistic,
  check_resamples,
  estimate,
  means,
)
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features, known_labels


class Classification:
  """Top-1 and top-5 accuracy over the clips whose class is known.

  A tie counts against us: a class that is as likely as the true one stands in
  front of it.
  """

  wanted = ("logits",)

  def __init__(
    self, loader, *, top: tuple[int, ...] = (1, 5), bootstrap: int = 0
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      top: how many classes may be named.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.

    Raises:
      ValueError: `top` is empty or has a number below 1, or `bootstrap` is
        negative.
    """
    self.loader, self.top = loader, check_top(top)
    self.bootstrap = check_resamples(bootstrap)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `logits` [B, C].
      variables: of the model.
    """
    return self.score(embed(self.loader, predict, variables, self.wanted))

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: "logits".

    Returns:
      top<k>: percent of the labelled clips whose class is in the k likeliest.
      mean_class_accuracy: top-1 percent of each class that occurs, averaged.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`.
      n_classes: classes that occur.
      n_evaluated: clips with a label.
      n_unlabelled: clips without one.
      n_missing: clips that could not be read.

    Raises:
      ValueError: no labelled clip, or a label beyond the classes.
      FloatingPointError: a logit of a labelled clip is not finite.
    """
    known = known_labels(features, "classification")
    labels = features.label[known]
    if not len(labels):
      raise ValueError("classification needs a clip with a label, got none")
    ranks = class_ranks(features.finite("logits", known), labels)
    return {
      **estimate(
        top_accuracies(ranks, labels, self.top),
        features.clip_id[known],
        self.bootstrap,
      ),
      "n_classes": float(len(np.unique(labels))),
      "n_evaluated": float(len(labels)),
      "n_unlabelled": float((~known).sum()),
      "n_missing": float(len(features.missing)),
    }


def check_top(top: Sequence[int]) -> tuple[int, ...]:
  """Returns how many classes may be named.

  Raises:
    ValueError: there is no number, or one below 1.
  """
  if not top or min(top) < 1:
    raise ValueError(f"top must have numbers of at least 1, got {top}")
  return tuple(top)


def class_ranks(
  logits: np.ndarray, labels: np.ndarray, *, tolerance: float = 0.0
) -> np.ndarray:
  """Returns [n] integers from 1: how many classes are at least as likely.

  Args:
    logits: [n, C] float.
    labels: [n] integers from 0.
    tolerance: a class this far below the true one still ties.

  Raises:
    ValueError: a label beyond the classes.
  """
  if (labels >= logits.shape[1]).any():
    raise ValueError(
      f"the model knows {logits.shape[1]} classes, got label "
      f"{labels.max()}: set model.num_classes"
    )
  true = np.take_along_axis(logits, labels[:, None], axis=1)
  return (logits >= true - tolerance).sum(1)


def top_accuracies(
  ranks: np.ndarray, labels: np.ndarray, top: tuple[int, ...]
) -> Statistic:
  """Returns the statistic of top<k> and mean_class_accuracy of n clips.

  Args:
    ranks: [n], of the true class.
    labels: [n], at least one.
    top: how many classes may be named.
  """
  order = np.argsort(labels, kind="stable")
  ranks, labels = ranks[order], labels[order]
  overall = means({f"top{k}": 100.0 * (ranks <= k) for k in top})
  first = np.unique(labels, return_index=True)[1]

  def statistic(weights):
    weights = weights[:, order]
    sizes = np.add.reduceat(weights, first, axis=1)  # [r, classes]
    found = np.add.reduceat(weights * (ranks == 1), first, axis=1)
    there = sizes > 0  # a class that was not drawn does not occur
    share = np.where(there, found / np.maximum(sizes, 1), 0).sum(1)
    by_class = 100.0 * share / there.sum(1)
    return overall(weights) | {"mean_class_accuracy": by_class}

  return statistic
