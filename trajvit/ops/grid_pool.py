"""Pooling the patches of a clip to a coarser grid, in which nothing is lost."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from trajvit.ops.merging import Merging, merge
from trajvit.ops.token_grid import on_grid
from trajvit.ops.tokens import zero_masked
from trajvit.ops.windows import reduce_windows
from trajvit.types import Tokens


def pool_grid(
  tokens: Tokens, grid: tuple[int, int, int], windows: tuple[int, int, int]
) -> Tokens:
  """Returns the mean of the real patches of every window.

  Windows are those of adaptive pooling, see `reduce_windows`. Where they
  overlap, a patch counts in full in all their means, and its size is shared
  between them.

  Args:
    tokens: P + T h w slots a clip, the last of which are the patches.
    grid: (T, h, w).
    windows: (t, y, x), how many along each axis.

  Returns:
    t y x tokens in raster order, without the P others; one without a real patch
    is masked. Sizes add up to those of the patches.

  Raises:
    ValueError: there are fewer slots, or more windows than patches.
  """
  prefix = on_grid(tokens, grid).prefix
  tokens = zero_masked(tokens)

  def total(x):
    x = x[:, prefix:].astype(jnp.float32)
    x = x.reshape(x.shape[0], *grid, -1)
    x = reduce_windows(x, windows, jnp.sum)
    return x.reshape(x.shape[0], math.prod(windows), -1)

  count = total(tokens.mask)  # [B, M, 1]
  sharing = np.ones(1, np.float32)
  for size, number in zip(grid, windows, strict=True):
    sharing = np.multiply.outer(sharing, _windows_of(size, number))
  sharing = np.pad(sharing.reshape(-1), (prefix, 0), constant_values=1)
  mean = total(tokens.features) / jnp.maximum(count, 1)
  return Tokens(
    features=mean.astype(tokens.features.dtype),
    mask=count[..., 0] > 0,
    positions=total(tokens.positions) / jnp.maximum(count, 1),
    size=total(tokens.size / sharing)[..., 0],
  )


def largest_windows(
  grid: tuple[int, int, int], sides: Sequence[int], count: int
) -> tuple[int, int, int]:
  """Returns (t, y, x), the largest that has at most `count` windows.

  Every frame is pooled to the largest side that fits. Where none does, frames
  are pooled as well, by the smallest factor, at the smallest side.

  Args:
    grid: (T, h, w).
    sides: windows along the rows and the columns of a frame; where the grid has
      fewer patches, so many.
    count: windows of a clip.

  Raises:
    ValueError: not one window of the smallest side fits.
  """
  frames, height, width = grid
  shapes = [(min(s, height), min(s, width)) for s in sorted(sides)]
  for y, x in reversed(shapes):
    if frames * y * x <= count:
      return frames, y, x
  y, x = shapes[0]
  for factor in range(2, frames + 1):
    t = -(-frames // factor)
    if t * y * x <= count:
      return t, y, x
  raise ValueError(
    f"{y * x} windows, the fewest of a frame, do not fit into {count} slots"
  )


def halvings(grid: tuple[int, int, int]) -> tuple[int, ...]:
  """Returns the sides s, s / 2, s / 4, ... 1, rounded down, of a frame.

  Args:
    grid: (T, h, w); s is the larger of h and w.
  """
  sides = [max(grid[1:])]
  while sides[-1] > 1:
    sides.append(sides[-1] // 2)
  return tuple(sides)


def _windows_of(size, count):
  """[size] float32, how many of `count` windows an index is in."""
  edge = np.arange(count + 1) * size
  index = np.arange(size)[:, None]
  inside = (edge[:-1] // count <= index) & (index < -(-edge[1:] // count))
  return inside.sum(1).astype(np.float32)


def pool_by_position(tokens: Tokens, windows: tuple[int, int, int]) -> Tokens:
  """Returns the mean, by size, of the tokens at the places of every window.

  For tokens that need not be a grid: windows divide time, rows and columns
  evenly, and a token is in the one that its position lies in.

  Args:
    tokens: N tokens a clip, not packed; protected ones are left out.
    windows: (t, y, x), how many along each axis.

  Returns:
    t y x tokens in raster order; a window without a token is masked.
  """
  mask = tokens.mask
  if tokens.protected is not None:
    mask = mask & ~tokens.protected
  tokens = dataclasses.replace(tokens, mask=mask, protected=None)
  at = jnp.floor(zero_masked(tokens).positions * np.float32(windows))
  at = jnp.clip(at.astype(jnp.int32), 0, np.array(windows) - 1)
  index = (at[..., 0] * windows[1] + at[..., 1]) * windows[2] + at[..., 2]
  owner = jnp.where(mask, index, -1)
  slots = math.prod(windows)
  merging = Merging(
    owner=owner,
    head=jnp.zeros((mask.shape[0], slots), jnp.int32),
    mask=(owner[..., None] == jnp.arange(slots)).any(1),
    absorbed=mask,
    overflow=jnp.zeros(mask.shape[0], jnp.int32),
  )
  return merge(tokens, merging)
