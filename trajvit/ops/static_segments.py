"""Segments in which the most patches stand still."""

import jax
import jax.numpy as jnp

from trajvit.ops.segments import (
  Segments,
  real_frames_first,
  segments_of_real_frames,
)


def static_segments(
  similarity: jax.Array, frame_mask: jax.Array, *, threshold: float
) -> tuple[Segments, jax.Array]:
  """Returns the segments that save the most when static patches are folded.

  A patch is static in a segment if it is alike from each frame to the next one,
  from the segment's first frame to its last. Kept once instead of in all its L
  frames, it saves L - 1 tokens. The partition of the largest sum is found by
  dynamic programming over the last segment, the shortest of equally good ones.
  Source: HoliTom, arXiv:2505.21334.

  Args:
    similarity: [..., T, n] float32, of each patch with that in the real frame
      before, as from `change.feature_similarity`. What stands at the first real
      frame and at masked ones is not read.
    frame_mask: [..., T] bool, True = real.
    threshold: a similarity of just as much is not alike.

  Returns:
    Segments, S = T; and [...] int32, the tokens that they save.
  """
  alike = (similarity > threshold) & frame_mask[..., None]
  alike = real_frames_first(alike, frame_mask, axis=-2)
  starts, saved = jnp.vectorize(_best_partition, signature="(t,n)->(t),()")(
    alike
  )
  return segments_of_real_frames(starts, frame_mask), saved


def _best_partition(alike):
  """[T, n] to the starts [T] of the best segments, and their saving []."""
  frames = alike.shape[0]
  # For how many frames, up to each one, a patch has been as before.
  frame = jnp.arange(frames)
  broken = jnp.where(alike, 0, frame[:, None])
  still = frame[:, None] - jax.lax.cummax(broken, axis=0)  # [T, n]
  # Of segments that end at frame e and are l frames longer than one.
  static = (still[:, :, None] >= frame).sum(1)  # [e, l]
  saving = static * frame

  def extend(end, state):
    best, longer = state
    # best[i] is of the first i frames; the segment starts at end - l.
    before = best[jnp.maximum(end - frame, 0)]
    total = jnp.where(frame <= end, before + saving[end], -1)
    choice = jnp.argmax(total)
    return best.at[end + 1].set(total[choice]), longer.at[end].set(choice)

  best = jnp.zeros(frames + 1, saving.dtype)
  longer = jnp.zeros(frames, frame.dtype)
  best, longer = jax.lax.fori_loop(0, frames, extend, (best, longer))

  def mark(_, state):
    end, starts = state  # end = -1: all frames are in a segment
    start = end - longer[jnp.maximum(end, 0)]
    return jnp.where(end < 0, end, start - 1), starts | (frame == start)

  state = jnp.int32(frames - 1), jnp.zeros(frames, bool)
  starts = jax.lax.fori_loop(0, frames, mark, state)[1]
  return starts, best[-1]
