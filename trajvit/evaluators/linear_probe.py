"""A linear probe of a clip's embedding, at every budget of nested tokens."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np

from trajvit.evaluators.made_frames import check_budgets, with_budget
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

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E].
        Compiled once for every `predict`, so hand in the same one again.
      variables: of the model.

    Returns:
      accuracy: percent of the labelled clips, with all tokens.
      accuracy@<k>: with the first k tokens of a step.
      chance: percent that always naming the commonest class would find.
      n_evaluated: clips with a label; n_missing: clips that could not be read.

    Raises:
      ValueError: fewer labelled clips than folds, or none.
      FloatingPointError: an embedding is not finite.
    """
    features, labels, missing = self._embed(predict, variables)
    fold = np.arange(len(labels)) % self.folds
    metrics = {}
    for budget, x in features.items():
      if not np.isfinite(x).all():
        raise FloatingPointError("embeddings to probe are not finite")
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
      name = "accuracy" if budget is None else f"accuracy@{budget}"
      metrics[name] = float(sum(found) / len(labels))
    common = np.unique(labels, return_counts=True)[1].max()
    return metrics | {
      "chance": 100.0 * float(common) / len(labels),
      "n_evaluated": float(len(labels)),
      "n_missing": float(missing),
    }

  def _embed(self, predict, variables):
    """Embeddings of the labelled clips by budget, their labels, and missing."""
    found = {budget: [] for budget in (None, *self.budgets)}
    labels, missing = [], 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        missing += len(info.skipped)
        if batch.label is None:
          raise ValueError("a probe needs batch.label, got None")
        label = np.asarray(batch.label)
        known = label >= 0
        if batch.valid is not None:
          known &= np.asarray(batch.valid)
        labels.append(label[known])
        batch = dataclasses.replace(batch, text=None)
        for budget, parts in found.items():
          asked = with_budget(batch, budget)
          parts.append(np.asarray(_embedding(predict, variables, asked))[known])
    if sum(map(len, labels)) < self.folds:
      raise ValueError(
        f"a probe of {self.folds} folds needs as many clips with a label, got "
        f"{sum(map(len, labels))}"
      )
    features = {budget: np.concatenate(x) for budget, x in found.items()}
    return features, np.concatenate(labels), missing


@functools.partial(jax.jit, static_argnums=0)
def _embedding(predict, variables, batch):
  return predict(variables, batch)["video_embedding"]
