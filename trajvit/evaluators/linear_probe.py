"""A linear probe of a clip's embedding, at every budget of nested tokens."""

import numpy as np

from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features, known_labels
from trajvit.evaluators.made_frames import check_budgets
from trajvit.evaluators.ridge import ridge_accuracy


class LinearProbe:
  """How often ridge regression on the embeddings finds the class of a clip.

  Clips are dealt out to folds in turn; each fold is tested by a probe of all
  others, see `evaluators.ridge`.
  """

  def __init__(
    self,
    loader,
    *,
    budgets: tuple[int, ...] = (),
    folds: int = 4,
    penalty: float = 1e-2,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      budgets: numbers of nested tokens to embed a clip by; none is all alone.
      folds: how many parts the clips are cut into.
      penalty: of the regression.

    Raises:
      ValueError: fewer than two folds, or a budget below 1.
    """
    if folds < 2:
      raise ValueError(f"folds must be at least 2, got {folds}")
    self.loader, self.budgets = loader, check_budgets(budgets)
    self.folds, self.penalty = folds, penalty

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
    return self.score(embed(self.loader, predict, variables, self.wanted))

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: as `wanted`.

    Returns:
      accuracy: percent of the labelled clips, with all tokens.
      accuracy@<k>: with the first k tokens of a step.
      chance: percent that always naming the commonest class would find.
      n_evaluated: clips with a label; n_missing: clips that could not be read.

    Raises:
      ValueError: fewer labelled clips than folds, or none.
      FloatingPointError: an embedding is not finite.
    """
    known = known_labels(features, "a probe")
    labels = features.label[known]
    if len(labels) < self.folds:
      raise ValueError(
        f"a probe of {self.folds} folds needs as many clips with a label, got "
        f"{len(labels)}"
      )
    fold = np.arange(len(labels)) % self.folds
    metrics = {}
    for name in self.wanted:
      x = features.finite(name, known)
      found = [
        ridge_accuracy(
          x[fold != k],
          labels[fold != k],
          x[fold == k],
          labels[fold == k],
          penalty=self.penalty,
        )
        * (fold == k).sum()
        for k in range(self.folds)
      ]
      metric = name.replace("video", "accuracy")
      metrics[metric] = float(sum(found) / len(labels))
    common = np.unique(labels, return_counts=True)[1].max()
    return metrics | {
      "chance": 100.0 * float(common) / len(labels),
      "n_evaluated": float(len(labels)),
      "n_missing": float(len(features.missing)),
    }
