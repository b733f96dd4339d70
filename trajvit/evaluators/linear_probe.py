"""A linear probe of a clip's embedding, at every budget of nested tokens."""

import numpy as np

from trajvit.evaluators.bootstrap import check_resamples, estimate, means
from trajvit.evaluators.embed import embed_both
from trajvit.evaluators.features import Features
from trajvit.evaluators.made_frames import check_budgets
from trajvit.evaluators.ridge import ridge_classes
from trajvit.evaluators.training_clips import TrainingClips


class LinearProbe:
  """How often ridge regression on the embeddings finds the class of a clip.

  It is trained on clips of their own, or on folds, see
  `evaluators.training_clips`; the regression is that of `evaluators.ridge`.

  Attributes:
    train_loader: of the training source, or None.
  """

  def __init__(
    self,
    loader,
    *,
    train: dict | None = None,
    budgets: tuple[int, ...] = (),
    folds: int = 4,
    penalty: float = 1e-2,
    bootstrap: int = 0,
    build_loader=None,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      train: spec of the source to train on; None takes folds.
      budgets: numbers of nested tokens to embed a clip by; none is all alone.
      folds: how many parts the clips are cut into.
      penalty: of the regression.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.
      build_loader: see TrainingClips.

    Raises:
      ValueError: as TrainingClips; a budget below 1; or `bootstrap` is
        negative.
    """
    self.loader, self.budgets = loader, check_budgets(budgets)
    self.penalty, self.bootstrap = penalty, check_resamples(bootstrap)
    self._clips = TrainingClips(
      loader, train=train, folds=folds, build_loader=build_loader
    )
    self.train_loader = self._clips.loader

  @property
  def wanted(self) -> tuple[str, ...]:
    """The features that `score` reads."""
    return ("video", *(f"video@{budget}" for budget in self.budgets))

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
      features: as `wanted`.
      train: of the clips of `train_loader`, likewise.

    Returns:
      accuracy: percent of the labelled clips, with all tokens.
      accuracy@<k>: with the first k tokens of a step.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`; the
        probes stay as they are.
      chance, n_evaluated, n_missing, ...: see `TrainingClips.counts`.

    Raises:
      ValueError: as TrainingClips.
      FloatingPointError: an embedding is not finite.
    """
    hits = {name: np.zeros(len(features)) for name in self.wanted}
    tested = []
    for split in self._clips.splits(features, train):
      tested.append(split.test_rows)
      labels, truth = split.labels()
      for name, found in hits.items():
        x, test = split.finite(name)
        classes = ridge_classes(x, labels, test, penalty=self.penalty)
        found[split.test_rows] = 100.0 * (classes == truth)
    rows = np.sort(np.concatenate(tested))
    metrics = estimate(
      means(
        {
          name.replace("video", "accuracy"): found[rows]
          for name, found in hits.items()
        }
      ),
      features.clip_id[rows],
      self.bootstrap,
    )
    return metrics | self._clips.counts(features, train)
