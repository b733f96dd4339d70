"""Cutting segments out of frames, each resized to the same small square."""

import jax
import jax.numpy as jnp

from trajvit.ops.tracks import track_boxes


def crop_tracks(
  frames: jax.Array, tracks: jax.Array, num_tracks: int, size: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the box around every track in every frame, resized.

  A box is that of the track's cells; its two sides are stretched on their own.
  Every place of a crop takes the pixel it lies in, so that a crop holds nothing
  of its track's neighbours; of a box larger than the crop, pixels are skipped.

  Args:
    frames: [B, T, H, W, C] float.
    tracks: [B, T, h, w] int32 in [0, M), or -1, on a grid of any size.
    num_tracks: M.
    size: S, rows = columns of a crop.

  Returns:
    crops [B, T, M, S, S, C], zeros outside of the track, and
    inside [B, T, M, S, S] bool, whether the track owns that place. A track
    without a cell in a frame is nowhere inside.
  """
  grid = jnp.array(tracks.shape[2:], jnp.float32)
  boxes = track_boxes(tracks, num_tracks)  # [B, T, M, 4]
  # In cells: whole numbers, which the division by the grid may have blurred.
  start = jnp.round(boxes[..., :2] * grid)
  extent = jnp.round(boxes[..., 2:] * grid) + 1 - start
  middles = (jnp.arange(size) + 0.5) / size
  at = start[..., None] + extent[..., None] * middles  # [B, T, M, 2, S]

  label = _gather(tracks[..., None], at)[..., 0]
  inside = label == jnp.arange(num_tracks)[:, None, None]
  scale = jnp.array(frames.shape[2:4], jnp.float32) / grid
  crops = _gather(frames, at * scale[:, None])
  return jnp.where(inside[..., None], crops, 0), inside


def _gather(x, at):
  """[B, T, H, W, C] at rows and columns [B, T, M, 2, S], whole or not.

  Returns [B, T, M, S, S, C]; what lies outside is taken from the border.
  """
  batch, frames, height, width, channels = x.shape
  last = jnp.array([height - 1, width - 1])[:, None]
  at = jnp.clip(jnp.floor(at).astype(jnp.int32), 0, last)
  index = at[..., 0, :, None] * width + at[..., 1, None, :]  # [B, T, M, S, S]
  flat = x.reshape(batch, frames, height * width, channels)
  cells = index.reshape(batch, frames, -1, 1)
  taken = jnp.take_along_axis(flat, cells, axis=2)
  return taken.reshape(*index.shape, channels)
