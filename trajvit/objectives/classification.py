"""Softmax cross-entropy over the classes of clips."""

import jax
import jax.numpy as jnp

from trajvit.types import Batch


def classification(
  outputs: dict, batch: Batch, *, label_smoothing: float = 0.0
) -> tuple[jax.Array, dict]:
  """Cross-entropy of a clip's class; clips of unknown class do not count.

  A clip that was mixed with another has both classes, in the shares that the
  two clips have in it (arXiv:1710.09412, arXiv:1905.04899).

  Args:
    outputs: `logits` [B, classes] float32.
    batch: `label` [B] int32 in [0, classes), or -1 = unknown; `valid` [B] or
      None: invalid rows do not count either. A label beyond the classes makes
      the loss NaN, which halts a run. `mix` or None: a clip whose other part is
      of unknown class does not count.
    label_smoothing: share of the target that is spread evenly over all classes
      (arXiv:1512.00567), in [0, 1).

  Returns:
    The mean loss over labelled clips [], 0 if there is none, and {"accuracy":
    share of them whose largest logit is their class, or what share of the clip
    has that class if it was mixed, "labelled": how many}.

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
  parts = [(batch.label, jnp.ones(known.shape))]  # classes of a clip, shares
  if batch.mix is not None:
    share = batch.mix.share
    known &= (batch.mix.label >= 0) | (share >= 1)
    other = jnp.where(share >= 1, batch.label, batch.mix.label)
    parts = [(batch.label, share), (other, 1 - share)]
  logits = jnp.where(known[:, None], outputs["logits"], 0)
  log_share = jax.nn.log_softmax(logits, axis=-1)
  best = logits.argmax(-1)
  target = hits = 0.0
  for label, share in parts:
    label = jnp.where(known, label, 0)
    chosen = jnp.take_along_axis(log_share, label[:, None], axis=1)[:, 0]
    target += share * chosen
    hits += share * (known & (best == label))
  losses = -(1 - label_smoothing) * target - label_smoothing * log_share.mean(1)
  labelled = known.sum()
  count = jnp.maximum(labelled, 1)
  metrics = {"accuracy": hits.sum() / count, "labelled": labelled}
  return jnp.where(known, losses, 0).sum() / count, metrics
