"""Zero-shot classification: the class whose text is nearest to the clip."""

from collections.abc import Sequence

import numpy as np

from trajvit.evaluators.bootstrap import check_resamples, estimate
from trajvit.evaluators.classification import (
  check_top,
  class_ranks,
  top_accuracies,
)
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features, known_labels
from trajvit.evaluators.prompts import ClassTexts

# Similarities of vectors of norm 1 that are closer than this tie, as in
# `evaluators.retrieval`.
TOLERANCE = 1e-6
_ROWS = 4096  # clips compared at once


class ZeroShot:
  """Top-1 and top-5 accuracy of the classes named by text.

  Source: CLIP, arXiv:2103.00020. The prompts of a class are embedded, brought
  to norm 1 and averaged, see `prompts.ClassTexts`; the class is the one with
  the highest inner product. A tie counts against us.

  Attributes:
    prompts: what the text tower is asked for.
    manifest: templates and a hash of the prompts.
  """

  wanted = ("video",)

  def __init__(
    self,
    loader,
    *,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] = "actions",
    renormalize: bool = True,
    top: tuple[int, ...] = (1, 5),
    bootstrap: int = 0,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels; `text` encodes
        prompts.
      classes: see ClassTexts.
      templates: see ClassTexts.
      renormalize: see ClassTexts.
      top: how many classes may be named.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.

    Raises:
      ValueError: as ClassTexts; `top` is empty or has a number below 1; or
        `bootstrap` is negative.
    """
    self.loader, self.top = loader, check_top(top)
    self.bootstrap = check_resamples(bootstrap)
    self._texts = ClassTexts(
      loader, classes=classes, templates=templates, renormalize=renormalize
    )
    self.prompts, self.manifest = self._texts.prompts, self._texts.manifest

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E] of
        norm 1 and `text_embedding` [B, C, E].
      variables: of the model.
    """
    return self.score(
      embed(self.loader, predict, variables, self.wanted, self.prompts)
    )

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: "video", and `prompts`.

    Returns:
      top<k>, mean_class_accuracy, their intervals, n_classes: see
        `Classification`.
      n_class_names: classes to choose from.
      n_prompts_shortened: prompts that lost their end.
      n_evaluated: clips with a label.
      n_unlabelled: clips without one.
      n_missing: clips that could not be read.

    Raises:
      ValueError: no labelled clip, or a label that has no name.
      FloatingPointError: an embedding is not finite.
    """
    known = known_labels(features, "zero-shot classification")
    labels = features.label[known]
    if not len(labels):
      raise ValueError("zero-shot classification needs a labelled clip")
    vectors = self._texts.vectors(features)
    if labels.max() >= len(vectors):
      raise ValueError(
        f"{len(vectors)} classes are named, got label {labels.max()}"
      )
    clips = features.finite("video", known).astype(np.float64)
    ranks = [
      class_ranks(
        clips[i : i + _ROWS] @ vectors.T,
        labels[i : i + _ROWS],
        tolerance=TOLERANCE,
      )
      for i in range(0, len(clips), _ROWS)
    ]
    return {
      **estimate(
        top_accuracies(np.concatenate(ranks), labels, self.top),
        features.clip_id[known],
        self.bootstrap,
      ),
      "n_classes": float(len(np.unique(labels))),
      "n_class_names": float(len(vectors)),
      "n_prompts_shortened": float(features.prompts_shortened),
      "n_evaluated": float(len(labels)),
      "n_unlabelled": float((~known).sum()),
      "n_missing": float(len(features.missing)),
    }
