"""Grouping of pixels into slots, each of which follows one track."""

import jax
import jax.numpy as jnp

from trajvit.objectives import segmentation_losses
from trajvit.ops.matching import (
  match_slots,
  number_labels,
  overlap_counts,
  resize_labels,
  soft_overlaps,
)
from trajvit.types import Batch


def grouping(
  outputs: dict,
  batch: Batch,
  *,
  dice: float = 1.0,
  focal: float = 0.5,
  cross_entropy: float = 0.0,
  high_resolution: float = 0.0,
  merge_samples: bool = False,
  count_unlabelled: bool = False,
  soft_matching: bool = False,
) -> tuple[jax.Array, dict]:
  """Dice, focal and cross-entropy losses of slots matched with tracks.

  Source: TrajTok, arXiv:2602.22779. Which slot follows which track is free: in
  every clip the two are matched for the largest sum of IoUs between tracks and
  hard predictions, and the match is a constant to the gradient. The defaults
  are TrajTok's weights of a segmenter that learns beside a contrastive loss
  (TrajViT2); those of a segmenter alone are dice=2, focal=1, high_resolution=1,
  and without that branch dice=2, focal=1. Unlike the released code, Dice is
  averaged over clips, instead of merging the n-th tracks of all clips, and
  pixels that no track owns do not count for the match; two options restore
  both.

  Args:
    outputs: `aux.tokenizer.logits` [B, T, h, w, M] float, slots of a pixel, and
      for `high_resolution` also `high_logits` [B, T, H, W, M].
    batch: `clip.tracks` [B, T, h', w'] int32, negative = ignore, is sampled on
      the grid of the logits at the top left corner of a cell; of the tracks of
      a clip the first M are learned. Frames that `clip.frame_mask`, and clips
      that `valid`, says are not real are ignored.
    dice: weight of 1 - Dice, the mean over the tracks of a clip, then clips.
    focal: weight of (1 - p)^2 (-log p), the mean over labelled pixels.
    cross_entropy: weight of -log p, the mean over labelled pixels.
    high_resolution: weight of the same sum on `high_logits`, which are matched
      by themselves; 0 leaves them unread.
    merge_samples: Dice over the batch as if it were one clip, in which the
      n-th tracks of all clips are one.
    count_unlabelled: whether the pixels that a slot holds outside of all
      tracks are in its union with a track.
    soft_matching: match by IoUs of the softmax over slots. Hard predictions
      have none with a small object until a slot wins a pixel of it, and leave
      the match to chance so long; a training of minutes wants soft ones.

  Returns:
    The loss [], exactly 0 and without a gradient where no pixel is labelled,
    and {"dice", "focal", "cross_entropy": before weighting, "matched_iou": mean
    over tracks of the IoU with their slot, "labels": tracks of a clip, and
    "labels_dropped": those among them that did not fit into M}, with the same
    as "high_..." at high resolution.

  Raises:
    ValueError: there are no logits or no tracks, or they differ in clips,
      frames or the shape of a frame.
  """
  found = outputs["aux"].get("tokenizer", {})
  weights = {"dice": dice, "focal": focal, "cross_entropy": cross_entropy}
  total, metrics = 0.0, {}
  for name, scale in (("logits", 1.0), ("high_logits", high_resolution)):
    if not scale:
      continue
    if name not in found:
      raise ValueError(
        f"grouping needs the {name} of a tokenizer that segments; "
        f"aux.tokenizer has {', '.join(sorted(found)) or 'nothing'}"
      )
    losses, measured = _losses(
      found[name], batch, merge_samples, count_unlabelled, soft_matching
    )
    total += scale * sum(weights[key] * loss for key, loss in losses.items())
    prefix = name.removesuffix("logits")
    metrics |= {f"{prefix}{k}": v for k, v in (losses | measured).items()}
  return total, metrics


def _losses(logits, batch, merge_samples, count_unlabelled, soft_matching):
  """The three losses, and what else is measured, at one resolution."""
  num_slots = logits.shape[-1]
  real = _real(batch, logits.shape[:4])
  labels = jnp.where(real, _tracks_like(logits, batch), -1)
  labels, count = number_labels(labels, num_slots)

  predicted = jax.lax.stop_gradient(logits)
  if soft_matching:
    counts = soft_overlaps(labels, predicted, real)
  else:
    owner = jnp.where(real, predicted.argmax(-1).astype(jnp.int32), -1)
    counts = overlap_counts(labels, owner, num_slots)
  slots, iou = match_slots(counts, count_unlabelled=count_unlabelled)
  # The slot that a pixel should be in: nothing of the logits is permuted.
  flat = labels.reshape(labels.shape[0], -1)
  wanted = jnp.take_along_axis(slots, jnp.maximum(flat, 0), axis=1)
  wanted = jnp.where(flat >= 0, wanted, -1).reshape(labels.shape)

  sums = segmentation_losses.pixel_sums(logits, wanted)
  dice_sums = sums
  if merge_samples:
    dice_sums = segmentation_losses.merge_samples(sums, slots)
  mean = segmentation_losses.pixel_mean
  losses = {
    "dice": segmentation_losses.dice(dice_sums),
    "focal": mean(sums.focal, sums),
    "cross_entropy": mean(sums.cross_entropy, sums),
  }
  dropped = jnp.maximum(count - num_slots, 0)
  num_clips = jnp.maximum(real.any((1, 2, 3)).sum(), 1)
  measured = {
    "matched_iou": iou.sum() / jnp.maximum((count - dropped).sum(), 1),
    "labels": count.sum() / num_clips,
    "labels_dropped": dropped.sum() / num_clips,
  }
  return losses, measured


def _tracks_like(logits, batch):
  """The tracks on the grid of the logits, [B, T, h, w] int32."""
  tracks = batch.clip.tracks
  shape = logits.shape[:4]
  if tracks is None:
    raise ValueError(
      f"grouping needs clip.tracks [B, T, h, w] for logits of {shape}, got None"
    )
  if tracks.ndim != 4 or tracks.shape[:2] != shape[:2]:
    raise ValueError(
      f"clip.tracks must have the clips and frames of the logits, "
      f"({shape[0]}, {shape[1]}, h, w), got {tracks.shape}"
    )
  return resize_labels(jnp.asarray(tracks), shape[2:])


def _real(batch, shape):
  """[B, T, h, w] bool, False in frames and clips that are padding."""
  real = jnp.ones(shape, bool)
  if batch.clip.frame_mask is not None:
    real &= batch.clip.frame_mask[:, :, None, None]
  if batch.valid is not None:
    real &= batch.valid[:, None, None, None]
  return real
