"""Segments of frames from cluster labels that jump to and fro."""

import jax
import jax.numpy as jnp

from trajvit.ops.segments import (
  Segments,
  real_frames_first,
  segments_of_real_frames,
)


def label_segments(labels: jax.Array, frame_mask: jax.Array) -> Segments:
  """Returns contiguous segments out of the clusters of the frames.

  Every label keeps its longest run of frames, all of equally long ones, and
  vanishes if that is a single frame. From left to right, what is left joins the
  run before it, as long as that has become, or the run after it if that one is
  longer; if no run is left, all frames are one segment. Segments are the runs
  of equal labels then. Source: PruneVid, arXiv:2412.16117, with the labels of
  `clustering.density_peaks` on frame means.

  Args:
    labels: [..., T] int32, not negative in real frames.
    frame_mask: [..., T] bool, True = real.

  Returns:
    Segments, S = T.
  """
  labels = jnp.where(frame_mask, labels, -1)
  labels = real_frames_first(labels, frame_mask)
  starts = jnp.vectorize(_refine, signature="(t)->(t)")(labels)
  return segments_of_real_frames(starts, frame_mask)


def _refine(labels):
  """[T], -1 at the end where there are no more frames, to starts [T]."""
  frames = labels.shape[0]
  frame = jnp.arange(frames)
  run = jnp.cumsum(labels != jnp.roll(labels, 1).at[0].set(-2))
  length = (run[:, None] == run).sum(1)  # [T], of the run of each frame
  same = labels[:, None] == labels
  longest = jnp.where(same, length, 0).max(1)
  kept = (labels >= 0) & (length == longest) & (longest > 1)

  following = jnp.where(kept, frame, frames)
  following = jax.lax.cummin(following, reverse=True)
  some = following < frames
  following = jnp.minimum(following, frames - 1)
  next_label = jnp.where(some, labels[following], 0)
  next_length = jnp.where(some, length[following], 0)

  def step(state, at):
    label, grown = state  # the run that ends at the frame before
    kept, own, next_label, next_length = at
    joins = (grown > 0) & (grown >= next_length)
    new = jnp.where(kept, own, jnp.where(joins, label, next_label))
    start = (grown == 0) | (new != label)
    return (new, jnp.where(start, 1, grown + 1)), start

  state = jnp.int32(-1), jnp.int32(0)
  at = kept, labels, next_label, next_length
  return jax.lax.scan(step, state, at)[1]
