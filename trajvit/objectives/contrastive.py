"""Contrastive losses between clips and captions, over the whole batch.

Negatives come from all devices, and no device ever holds the B x B matrix of
pairs: see `ops.pairs` for how they are gone through, which both losses take as
`method` and `chunk`.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.pair_sigmoid import sigmoid_decisions
from trajvit.ops.pair_softmax import softmax_matches
from trajvit.ops.pairs import Schedule
from trajvit.types import Batch

# Columns at a time: few enough for the memory, enough for products to be large.
CHUNK = 1024


def contrastive(
  outputs: dict, batch: Batch, *, method: str = "gathered", chunk: int = CHUNK
) -> tuple[jax.Array, dict]:
  """Symmetric InfoNCE, in which clips of one id are each other's positives.

  Source: CLIP, arXiv:2103.00020; the target of a row is spread evenly over its
  positives (UniCL, arXiv:2204.03610).

  Args:
    outputs: `video_embedding` and `text_embedding` [B, E], `temperature` [].
    batch: `clip_id` [B]; `valid` [B] or None: invalid rows are neither anchors
      nor negatives.
    method: "gathered" or "ring".
    chunk: captions that a device compares its clips with at a time.

  Returns:
    The loss [] and {"accuracy": share of the anchors, both ways, whose most
    similar row is a positive, "temperature"}.
  """
  video, text, valid = _embeddings(outputs, batch)
  found = softmax_matches(
    video / outputs["temperature"],
    text,
    batch.clip_id,
    valid,
    Schedule.here(method, chunk),
  )
  losses = [
    x.logsumexp - x.positive_sum / jnp.maximum(x.positives, 1) for x in found
  ]
  loss_video, loss_text = (_mean(x, valid) for x in losses)
  hits_video, hits_text = (_mean(x.best.hit, valid) for x in found)
  metrics = {
    "accuracy": (hits_video + hits_text) / 2,
    "temperature": outputs["temperature"],
  }
  return (loss_video + loss_text) / 2, metrics


def sigmoid(
  outputs: dict, batch: Batch, *, method: str = "gathered", chunk: int = CHUNK
) -> tuple[jax.Array, dict]:
  """Pairwise sigmoid loss (SigLIP): every pair is a binary decision.

  Source: SigLIP, arXiv:2303.15343. Summed over all pairs, divided by the number
  of clips.

  Args:
    outputs: `video_embedding` and `text_embedding` [B, E], `temperature` and
      `bias` [].
    batch: `clip_id` [B]; `valid` [B] or None, as in `contrastive`.
    method: "gathered" or "ring".
    chunk: captions that a device compares its clips with at a time.

  Returns:
    The loss [] and {"accuracy": share of the clips whose most similar caption
    is theirs, "temperature", "bias"}.
  """
  video, text, valid = _embeddings(outputs, batch)
  found = sigmoid_decisions(
    video / outputs["temperature"],
    text,
    jnp.asarray(outputs["bias"]),
    batch.clip_id,
    valid,
    Schedule.here(method, chunk),
  )
  metrics = {
    "accuracy": _mean(found.best.hit, valid),
    "temperature": outputs["temperature"],
    "bias": outputs["bias"],
  }
  return _mean(found.loss, valid), metrics


def _embeddings(outputs, batch):
  """Embeddings with zeros in invalid rows, and `valid` as an array."""
  if "text_embedding" not in outputs:
    raise ValueError(
      "a contrastive loss needs captions, but batch.text is None"
    )
  if batch.mix is not None:
    raise ValueError(
      "a contrastive loss needs whole clips, since a mixed one has no caption: "
      "leave out data.mix"
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


def _mean(x, valid):
  """The mean over valid rows; 0 if there are none."""
  return jnp.where(valid, x, 0).sum() / jnp.maximum(valid.sum(), 1)
