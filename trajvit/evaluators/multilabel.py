"""Several classes a clip: mean average precision."""

from collections.abc import Callable, Sequence

import numpy as np

from trajvit.evaluators.bootstrap import check_resamples, estimate
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.evaluators.prompts import ClassTexts

SCORES = ("zero_shot", "logits")


class MultiLabel:
  """Mean average precision over the classes that some clip has.

  The average precision of a class is the sum over thresholds of the gain in
  recall times the precision, clips of equal scores being found together. A
  clip without any class is one where all are absent, as Charades has them.

  Attributes:
    prompts: what the text tower is asked for, () for logits.
    manifest: templates and a hash of the prompts, {} for logits.
  """

  def __init__(
    self,
    loader,
    *,
    scores: str = "zero_shot",
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] = "actions",
    renormalize: bool = True,
    bootstrap: int = 0,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) whose `labels` are all
        classes of a clip.
      scores: "zero_shot", the similarity with the text of a class; or "logits".
      classes: see ClassTexts; for zero-shot scores.
      templates: likewise.
      renormalize: likewise.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.

    Raises:
      ValueError: as ClassTexts, unknown scores, or `bootstrap` is negative.
    """
    if scores not in SCORES:
      raise ValueError(f"scores must be one of {SCORES}, got {scores!r}")
    self.loader, self.scores = loader, scores
    self.bootstrap = check_resamples(bootstrap)
    self.prompts, self.manifest, self._texts = (), {}, None
    if scores == "zero_shot":
      self._texts = ClassTexts(
        loader, classes=classes, templates=templates, renormalize=renormalize
      )
      self.prompts, self.manifest = self._texts.prompts, self._texts.manifest

  @property
  def wanted(self) -> tuple[str, ...]:
    """The features that `score` reads."""
    return ("video",) if self._texts else ("logits",)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `logits` [B, C], or with
        `video_embedding` [B, E] of norm 1 and `text_embedding` [B, C, E].
      variables: of the model.
    """
    return self.score(
      embed(self.loader, predict, variables, self.wanted, self.prompts)
    )

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: as `wanted`, with `labels`.

    Returns:
      mAP: percent, over all clips.
      mAP_labelled: over the clips with a class. The program that Charades is
        measured with ranks the others last, which comes to this.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`.
      n_classes: classes that some clip has, over which the mean is.
      n_class_names: classes that have a score.
      n_evaluated: clips.
      n_unlabelled: those of them without a class.
      n_missing: clips that could not be read.

    Raises:
      ValueError: no clip has a class, or one has a class without a score.
      FloatingPointError: a score is not finite.
    """
    scores = features.finite(self.wanted[0]).astype(np.float64)
    if self._texts:
      scores = scores @ self._texts.vectors(features).T  # [n, C]
    truth = label_matrix(features, scores.shape[1])
    labelled = truth.any(1)
    kinds = {"mAP": np.ones(len(truth)), "mAP_labelled": labelled * 1.0}
    statistics = {
      name: mean_average_precision(scores, truth, share)
      for name, share in kinds.items()
    }

    def both(weights):
      return {name: one(weights) for name, one in statistics.items()}

    return {
      **estimate(both, features.clip_id, self.bootstrap),
      "n_classes": float(truth.any(0).sum()),
      "n_class_names": float(truth.shape[1]),
      "n_evaluated": float(len(truth)),
      "n_unlabelled": float((~labelled).sum()),
      "n_missing": float(len(features.missing)),
    }


def label_matrix(features: Features, num_classes: int) -> np.ndarray:
  """Returns [n, C] bool, the classes of each clip.

  Raises:
    ValueError: no clip has a class, or one has a class from C on.
  """
  labels = features.labels or ()
  if not any(labels):
    raise ValueError("several classes a clip are needed, no clip has labels")
  most = max(max(row, default=-1) for row in labels)
  if most >= num_classes:
    raise ValueError(f"{num_classes} classes have scores, got label {most}")
  truth = np.zeros((len(labels), num_classes), bool)
  for row, found in zip(truth, labels, strict=True):
    row[list(found)] = True
  return truth


def mean_average_precision(
  scores: np.ndarray, truth: np.ndarray, share: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns weights [r, n] -> [r], the mean over classes with a positive clip.

  A class of which no clip was drawn is left out of the mean.

  Args:
    scores: [n, C] float.
    truth: [n, C] bool.
    share: [n] float, what the weights are multiplied with.
  """
  columns = np.flatnonzero(truth.any(0))

  def statistic(weights):
    weights = weights * share
    found = np.stack(
      [average_precision(scores[:, c], truth[:, c], weights) for c in columns]
    )  # [classes, r]
    there = ~np.isnan(found)
    return 100.0 * np.nansum(found, axis=0) / np.maximum(there.sum(0), 1)

  return statistic


def average_precision(
  scores: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Returns the average precision of a class, [r]; NaN without a positive clip.

  Args:
    scores: [n] float.
    truth: [n] bool.
    weights: [r, n] float, how often each clip is there.
  """
  order = np.argsort(-scores, kind="stable")
  # Clips of equal scores are found at once: a threshold is where one ends.
  ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
  weights = weights[:, order]
  right = np.cumsum(weights * truth[order], axis=1)[:, ends]  # [r, thresholds]
  found = np.cumsum(weights, axis=1)[:, ends]
  precision = right / np.maximum(found, 1)  # 0 / 1 where nobody was drawn
  gain = np.diff(right, axis=1, prepend=0)
  total = right[:, -1]
  area = (gain * precision).sum(1)
  return np.where(total > 0, area / np.maximum(total, 1), np.nan)
