"""Classification: how often the class of a clip is found."""

from collections.abc import Sequence

import numpy as np

from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features, known_labels


class Classification:
  """Top-1 and top-5 accuracy over the clips whose class is known.

  A tie counts against us: a class that is as likely as the true one stands in
  front of it.
  """

  wanted = ("logits",)

  def __init__(self, loader, *, top: tuple[int, ...] = (1, 5)):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      top: how many classes may be named.

    Raises:
      ValueError: `top` is empty or has a number below 1.
    """
    self.loader, self.top = loader, check_top(top)

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
      **top_accuracies(ranks, labels, self.top),
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
) -> dict[str, float]:
  """Returns top<k>, mean_class_accuracy and n_classes of n clips.

  Args:
    ranks: [n], of the true class.
    labels: [n], at least one.
    top: how many classes may be named.
  """
  classes = np.unique(labels)
  by_class = [_percent(ranks[labels == c] == 1) for c in classes]
  return {
    **{f"top{k}": _percent(ranks <= k) for k in top},
    "mean_class_accuracy": float(np.mean(by_class)),
    "n_classes": float(len(classes)),
  }


def _percent(hits):
  return 100.0 * int(hits.sum()) / len(hits)
