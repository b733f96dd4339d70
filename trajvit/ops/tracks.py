"""Where a track is: areas, centres and boxes from a label map.

All read `tracks` [B, T, h, w] int32, the track in [0, M) that owns a cell, or
-1. Labels are compared with all M one row of cells at a time, so that memory
grows with M * T * (h + w), not with M * T * h * w.
"""

import jax
import jax.numpy as jnp


def track_areas(tracks: jax.Array, num_tracks: int) -> jax.Array:
  """Returns [B, T, M] float32, the share of the frame that a track covers."""
  rows, _ = _profiles(tracks, num_tracks)
  return rows.sum(2) / (tracks.shape[2] * tracks.shape[3])


def track_centers(tracks: jax.Array, num_tracks: int) -> jax.Array:
  """Returns [B, T, M, 2] float32, the mean (y, x) of a track's cells.

  Coordinates are cell indices over the grid size, in [0, 1); a track without a
  cell in the frame has (-1, -1).
  """
  rows, columns = _profiles(tracks, num_tracks)
  count = rows.sum(2)  # [B, T, M]
  height, width = tracks.shape[2:]
  y = jnp.einsum("bthm,h->btm", rows, jnp.arange(height) / height)
  x = jnp.einsum("btwm,w->btm", columns, jnp.arange(width) / width)
  center = jnp.stack([y, x], axis=-1) / jnp.maximum(count, 1)[..., None]
  return jnp.where(count[..., None] > 0, center, -1.0)


def track_boxes(
  tracks: jax.Array, num_tracks: int, *, trim: float = 0.0
) -> jax.Array:
  """Returns [B, T, M, 4] float32 boxes (top, left, bottom, right).

  Coordinates are inclusive cell indices over the grid size, in [0, 1); a track
  without a cell in the frame has -1 in all four. (The TrajViT code tests for
  that only after dividing, and so misses it.)

  Args:
    tracks: [B, T, h, w] int32.
    num_tracks: M.
    trim: share of a track's cells, in [0, 0.5), that may lie beyond each side.
      Where tracks are found and not given, a stray cell then moves no side.

  Raises:
    ValueError: trim is out of range.
  """
  if not 0 <= trim < 0.5:
    raise ValueError(f"trim must be in [0, 0.5), got {trim}")
  rows, columns = _profiles(tracks, num_tracks)
  top, bottom = _extent(rows, trim)
  left, right = _extent(columns, trim)
  return jnp.stack([top, left, bottom, right], axis=-1)


def _profiles(tracks, num_tracks):
  """Cells of a track in every row [B, T, h, M] and column [B, T, w, M]."""

  def add(columns, row):  # row [B, T, w]
    owned = (row[..., None] == jnp.arange(num_tracks)).astype(jnp.float32)
    return columns + owned, owned.sum(2)

  start = jnp.zeros((*tracks.shape[:2], tracks.shape[3], num_tracks))
  columns, rows = jax.lax.scan(add, start, jnp.moveaxis(tracks, 2, 0))
  return jnp.moveaxis(rows, 0, 2), columns


def _extent(cells, trim):
  """First and last along axis 2 of [B, T, n, M], over n; -1 if none."""
  count, total = cells.shape[2], cells.sum(2)
  spare = trim * total[:, :, None]
  first = jnp.argmax(jnp.cumsum(cells, axis=2) > spare, axis=2)
  after = jnp.argmax(jnp.cumsum(cells[:, :, ::-1], axis=2) > spare, axis=2)
  ends = first / count, (count - 1 - after) / count
  return tuple(jnp.where(total > 0, end, -1.0) for end in ends)
