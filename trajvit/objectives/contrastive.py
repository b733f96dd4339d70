"""Contrastive losses between clips and captions, over the whole batch.

Under shardings the embeddings are global arrays: negatives come from all
devices without a word about them here.
"""

import jax
import jax.numpy as jnp

from trajvit.types import Batch


def contrastive(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """Symmetric InfoNCE, in which clips of one id are each other's positives.

  Source: CLIP, arXiv:2103.00020; the target of a row is spread evenly over its
  positives (UniCL, arXiv:2204.03610).

  Args:
    outputs: `video_embedding` and `text_embedding` [B, E], `temperature` [].
    batch: `clip_id` [B]; `valid` [B] or None: invalid rows are neither anchors
      nor negatives.

  Returns:
    The loss [] and {"accuracy": share of the anchors, both ways, whose most
    similar row is a positive, "temperature"}.
  """
  video, text, valid = _embeddings(outputs, batch)
  logits = video @ text.T / outputs["temperature"]
  positive = _same_clip(batch, valid)
  loss_video, hits_video = _cross_entropy(logits, positive, valid)
  loss_text, hits_text = _cross_entropy(logits.T, positive, valid)
  metrics = {
    "accuracy": (hits_video + hits_text) / 2,
    "temperature": outputs["temperature"],
  }
  return (loss_video + loss_text) / 2, metrics


def sigmoid(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """Pairwise sigmoid loss (SigLIP): every pair is a binary decision.

  Source: SigLIP, arXiv:2303.15343. Summed over all pairs, divided by the number
  of clips.

  Args:
    outputs: `video_embedding` and `text_embedding` [B, E], `temperature` and
      `bias` [].
    batch: `clip_id` [B]; `valid` [B] or None, as in `contrastive`.

  Returns:
    The loss [] and {"accuracy": share of the clips whose most similar caption
    is theirs, "temperature", "bias"}.
  """
  video, text, valid = _embeddings(outputs, batch)
  logits = video @ text.T / outputs["temperature"] + outputs["bias"]
  positive = _same_clip(batch, valid)
  pairs = valid[:, None] & valid[None]
  losses = -jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))
  count = jnp.maximum(valid.sum(), 1)
  loss = jnp.where(pairs, losses, 0).sum() / count
  metrics = {
    "accuracy": _cross_entropy(logits, positive, valid)[1],
    "temperature": outputs["temperature"],
    "bias": outputs["bias"],
  }
  return loss, metrics


def _embeddings(outputs, batch):
  """Embeddings with zeros in invalid rows, and `valid` as an array."""
  if "text_embedding" not in outputs:
    raise ValueError(
      "a contrastive loss needs captions, but batch.text is None"
    )
  video, text = outputs["video_embedding"], outputs["text_embedding"]
  if text.shape != video.shape:
    raise ValueError(
      f"text_embedding must be {video.shape}, one caption a clip, "
      f"got {text.shape}"
    )
  if batch.valid is None:
    return video, text, jnp.ones(video.shape[0], bool)
  real = batch.valid[:, None]
  return jnp.where(real, video, 0), jnp.where(real, text, 0), batch.valid


def _same_clip(batch, valid):
  """[B, B] bool, True where row and column are captions of one another."""
  same = batch.clip_id[:, None] == batch.clip_id[None]
  return same & valid[:, None] & valid[None]


def _cross_entropy(logits, positive, valid):
  """Mean over valid rows of the cross-entropy, and the share of hits."""
  logits = jnp.where(valid[None], logits, jnp.finfo(logits.dtype).min)
  log_share = jax.nn.log_softmax(logits, axis=-1)
  positives = jnp.maximum(positive.sum(-1), 1)
  losses = -jnp.where(positive, log_share, 0).sum(-1) / positives
  best = jnp.take_along_axis(positive, logits.argmax(-1)[:, None], axis=1)[:, 0]
  count = jnp.maximum(valid.sum(), 1)
  loss = jnp.where(valid, losses, 0).sum() / count
  return loss, jnp.where(valid, best, False).sum() / count
