"""Classification: how often the class of a clip is found."""

import contextlib
import functools

import jax
import numpy as np


class Classification:
  """Top-1 and top-5 accuracy over the clips whose class is known.

  A tie counts against us: a class that is as likely as the true one stands in
  front of it.
  """

  def __init__(self, loader, *, top: tuple[int, ...] = (1, 5)):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      top: how many classes may be named.

    Raises:
      ValueError: `top` is empty or has a number below 1.
    """
    if not top or min(top) < 1:
      raise ValueError(f"top must have numbers of at least 1, got {top}")
    self.loader, self.top = loader, tuple(top)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `logits` [B, C]. Compiled
        once for every `predict`, so hand in the same one again.
      variables: of the model.

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
    ranks, labels, unlabelled, missing = self._ranks(predict, variables)
    if not len(labels):
      raise ValueError("classification needs a clip with a label, got none")
    classes = np.unique(labels)
    by_class = [_percent(ranks[labels == c] == 1) for c in classes]
    return {
      **{f"top{k}": _percent(ranks <= k) for k in self.top},
      "mean_class_accuracy": float(np.mean(by_class)),
      "n_classes": float(len(classes)),
      "n_evaluated": float(len(labels)),
      "n_unlabelled": float(unlabelled),
      "n_missing": float(missing),
    }

  def _ranks(self, predict, variables):
    """Rank of the true class and label of every labelled clip, two counts."""
    ranks, labels, unlabelled, missing = [], [], 0, 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        missing += len(info.skipped)
        if batch.label is None:
          raise ValueError("classification needs batch.label, got None")
        label = np.asarray(batch.label)
        valid = (
          np.ones(len(label), bool) if batch.valid is None else batch.valid
        )
        known = np.asarray(valid) & (label >= 0)
        unlabelled += int((np.asarray(valid) & ~known).sum())
        logits = np.asarray(_logits(predict, variables, batch))[known]
        label = label[known]
        if (label >= logits.shape[1]).any():
          raise ValueError(
            f"the model knows {logits.shape[1]} classes, got label "
            f"{label.max()}: set model.num_classes"
          )
        if not np.isfinite(logits).all():
          raise FloatingPointError("logits of a clip are not finite")
        true = np.take_along_axis(logits, label[:, None], axis=1)
        ranks.append((logits >= true).sum(1))
        labels.append(label)
    none = [np.zeros(0, int)]
    return (
      *map(np.concatenate, (none + ranks, none + labels)),
      unlabelled,
      missing,
    )


@functools.partial(jax.jit, static_argnums=0)
def _logits(predict, variables, batch):
  return predict(variables, batch)["logits"]


def _percent(hits):
  return 100.0 * int(hits.sum()) / len(hits)
