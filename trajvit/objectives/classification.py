"""Softmax cross-entropy over the classes of clips."""

import jax
import jax.numpy as jnp

from trajvit.types import Batch


def classification(
  outputs: dict, batch: Batch, *, label_smoothing: float = 0.0
) -> tuple[jax.Array, dict]:
  """Cross-entropy of a clip's class; clips of unknown class do not count.

  Args:
    outputs: `logits` [B, classes] float32.
    batch: `label` [B] int32 in [0, classes), or -1 = unknown; `valid` [B] or
      None: invalid rows do not count either. A label beyond the classes makes
      the loss NaN, which halts a run.
    label_smoothing: share of the target that is spread evenly over all classes
      (arXiv:1512.00567), in [0, 1).

  Returns:
    The mean loss over labelled clips [], 0 if there is none, and {"accuracy":
    share of them whose largest logit is their class, "labelled": how many}.

  Raises:
    ValueError: the batch has no labels, or `label_smoothing` is out of range.
  """
  if batch.label is None:
    raise ValueError("classification needs batch.label [B], got None")
  if not 0 <= label_smoothing < 1:
    raise ValueError(
      f"label_smoothing must be in [0, 1), got {label_smoothing}"
    )
  known = batch.label >= 0
  if batch.valid is not None:
    known &= batch.valid
  logits = jnp.where(known[:, None], outputs["logits"], 0)
  label = jnp.where(known, batch.label, 0)
  log_share = jax.nn.log_softmax(logits, axis=-1)
  target = jnp.take_along_axis(log_share, label[:, None], axis=1)[:, 0]
  losses = -(1 - label_smoothing) * target - label_smoothing * log_share.mean(1)
  labelled = known.sum()
  count = jnp.maximum(labelled, 1)
  hits = known & (logits.argmax(-1) == label)
  metrics = {"accuracy": hits.sum() / count, "labelled": labelled}
  return jnp.where(known, losses, 0).sum() / count, metrics
