"""What every tokenizer of given tracks shares: their checks and positions."""

import jax
import jax.numpy as jnp

from trajvit.ops.tokens import zero_masked_frames
from trajvit.ops.tracks import track_centers
from trajvit.types import Clip, Tokens


def tracked_clip(clip: Clip, grid: tuple[int, int]) -> Clip:
  """Returns `clip` with masked frames emptied, after checking its tracks.

  Args:
    clip: `tracks` [B, T, s h, s w] for a whole s >= 1.
    grid: (h, w), the feature grid that tracks are pooled on.

  Raises:
    ValueError: no tracks, or not on a multiple of the grid.
  """
  if clip.tracks is None:
    raise ValueError("a trajectory tokenizer needs clip.tracks, got None")
  batch, frames = clip.frames.shape[:2]
  got = clip.tracks.shape
  scale = max(got[2] // grid[0], 1) if len(got) == 4 else 1
  expected = (batch, frames, scale * grid[0], scale * grid[1])
  if got != expected:
    raise ValueError(
      f"tracks must be on a multiple of the feature grid, {expected}, got {got}"
    )
  return zero_masked_frames(clip)


def track_tokens(
  features: jax.Array, area: jax.Array, tracks: jax.Array
) -> Tokens:
  """Returns one token for every track that has a cell.

  Args:
    features: [B, M, D], a track's embedding, anything for an empty track.
    area: [B, T, M] float32, cells of the feature grid.
    tracks: [B, T, h, w] int32 label map.

  Returns:
    M tokens; an empty track is a masked slot of zeros. A token's position is
    the mean (t, y, x) of its cells' middles and its size their number.
  """
  frames, num_tracks = area.shape[1:]
  present = area > 0  # [B, T, M]
  mask = present.any(1)  # [B, M]
  size = area.sum(1)
  share = area / jnp.maximum(size, 1e-6)[:, None]
  half = 0.5 / jnp.array(tracks.shape[2:])
  center = track_centers(tracks, num_tracks) + half  # [B, T, M, 2]
  center = jnp.where(present[..., None], center, 0)
  space = jnp.einsum("btm,btmc->bmc", share, center)
  middle = (jnp.arange(frames) + 0.5) / frames
  time = jnp.einsum("btm,t->bm", share, middle)
  return Tokens(
    features=jnp.where(mask[..., None], features, 0),
    mask=mask,
    positions=jnp.concatenate([time[..., None], space], axis=-1),
    size=size,
  )


def by_track(x: jax.Array) -> jax.Array:
  """[B, T, M, ...] -> [B M, T, ...], a sequence over time for every track."""
  x = jnp.swapaxes(x, 1, 2)
  return x.reshape(-1, *x.shape[2:])
