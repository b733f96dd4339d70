"""Segments of time: neighbouring frames of a clip that belong together.

Masked frames belong to no segment and separate none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Segments(NamedTuple):
  """A partition of the real frames of a clip into at most S stretches.

  Attributes:
    ids: [..., T] int32 in [0, S), growing by 1 from segment to segment; -1
      where masked.
    starts: [..., T] bool, the first frame of each segment.
    lengths: [..., S] int32, real frames of each segment; 0 = there is none.
    dropped: [...] int32, starts that were asked for and did not fit into S.
  """

  ids: jax.Array
  starts: jax.Array
  lengths: jax.Array
  dropped: jax.Array


def segments_from_starts(
  starts: jax.Array, frame_mask: jax.Array, max_segments: int
) -> Segments:
  """Returns the segments that begin at `starts`.

  Args:
    starts: [..., T] bool; the first real frame is a start in any case, a masked
      one never. Those after the first `max_segments` are dropped.
    frame_mask: [..., T] bool, True = real.
    max_segments: S.
  """
  first = frame_mask & (jnp.cumsum(frame_mask, axis=-1) == 1)
  starts = frame_mask & (starts | first)
  order = jnp.cumsum(starts, axis=-1)
  dropped = jnp.maximum(order[..., -1] - max_segments, 0)
  starts = starts & (order <= max_segments)
  ids = jnp.where(frame_mask, jnp.minimum(order, max_segments) - 1, -1)
  lengths = (ids[..., None] == jnp.arange(max_segments)).sum(-2)
  return Segments(ids, starts, lengths, dropped)


def similarity_segments(
  similarity: jax.Array,
  frame_mask: jax.Array,
  *,
  threshold: float,
  max_segments: int,
  min_segments: int = 1,
) -> Segments:
  """Returns segments that begin at frames unlike the one before.

  A clip is cut wherever the similarity is below the threshold, and where it is
  least of what is left until there are `min_segments`. That is DySeg of FastVID
  (arXiv:2503.11187), and the same as taking the least similar places together
  with those below the threshold. If there are too many, the cuts of the least
  similarity stay, the first of equals.

  Args:
    similarity: [..., T] float32, of each frame with the real one before it;
      what stands at the first real frame and at masked ones is not read. See
      `change.feature_similarity`.
    frame_mask: [..., T] bool, True = real.
    threshold: a similarity of just as much is not cut.
    max_segments: S, in [1, T].
    min_segments: in [1, S]; a clip with fewer real frames has fewer.

  Raises:
    ValueError: `max_segments` or `min_segments` is out of its range.
  """
  frames = frame_mask.shape[-1]
  if not 1 <= min_segments <= max_segments <= frames:
    raise ValueError(
      f"there must be 1 <= min_segments <= max_segments <= {frames} frames, "
      f"got {min_segments} and {max_segments}"
    )
  inner = frame_mask & (jnp.cumsum(frame_mask, axis=-1) > 1)
  value = jnp.where(inner, similarity, jnp.inf)
  rank = jnp.argsort(jnp.argsort(value, axis=-1), axis=-1)
  below = (inner & (value < threshold)).sum(-1)
  cuts = jnp.clip(below, min_segments - 1, max_segments - 1)
  starts = inner & (rank < cuts[..., None])
  segments = segments_from_starts(starts, frame_mask, max_segments)
  return segments._replace(dropped=below - jnp.minimum(below, cuts))


def equal_segments(frame_mask: jax.Array, length: int) -> Segments:
  """Returns segments of `length` real frames each; the last may have fewer.

  Args:
    frame_mask: [..., T] bool, True = real.
    length: at least 1; S is T / length, rounded up.

  Raises:
    ValueError: `length` is below 1.
  """
  if length < 1:
    raise ValueError(f"length must be at least 1, got {length}")
  starts = (jnp.cumsum(frame_mask, axis=-1) - 1) % length == 0
  max_segments = -(-frame_mask.shape[-1] // length)
  return segments_from_starts(starts, frame_mask, max_segments)


def real_frames_first(
  x: jax.Array, frame_mask: jax.Array, axis: int = -1
) -> jax.Array:
  """Returns `x` with the real frames moved to the front, in their order.

  Args:
    x: [..., T, ...], its leading axes those of `frame_mask`.
    frame_mask: [..., T] bool, True = real.
    axis: where T is in `x`, counted from the end.
  """
  order = jnp.argsort(~frame_mask, axis=-1)
  order = order.reshape(order.shape + (1,) * (-1 - axis))
  return jnp.take_along_axis(x, order, axis=axis)


def segments_of_real_frames(
  starts: jax.Array, frame_mask: jax.Array
) -> Segments:
  """Returns the segments for starts found after `real_frames_first`.

  Args:
    starts: [..., T] bool, of the real frames in their order, then unread ones.
    frame_mask: [..., T] bool, True = real.

  Returns:
    Segments of the frames in their own slots, S = T.
  """
  rank = jnp.maximum(jnp.cumsum(frame_mask, axis=-1) - 1, 0)
  starts = jnp.take_along_axis(starts, rank, axis=-1)
  return segments_from_starts(starts, frame_mask, frame_mask.shape[-1])
