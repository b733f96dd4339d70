"""From one grid of cells to another, finer or coarser along each axis."""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.masked import only_real

# A tie counts as real, whichever way it is rounded.
HALF = 0.5 - 1e-3


def resize_grid(
  x: jax.Array, grid: tuple[int, ...], mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the features of another grid over the same clip, and its mask.

  Axis by axis, see `axis_weights`. Only real cells are read: their weights are
  scaled to sum to 1.

  Args:
    x: [B, *cells, C], such as [B, t, h, w, C].
    grid: how many cells the result has along each axis.
    mask: [B, *cells] bool, True = real.

  Returns:
    [B, *grid, C] float32, zeros where masked, and [B, *grid] bool, True where
    real cells have at least half the weight.

  Raises:
    ValueError: a grid of other axes, or a mask of other cells.
  """
  cells = x.shape[1:-1]
  if len(grid) != len(cells) or mask.shape != x.shape[:-1]:
    raise ValueError(
      f"a grid with the axes of {cells} and a mask {x.shape[:-1]} are needed, "
      f"got {tuple(grid)} and {mask.shape}"
    )
  x = only_real(x.astype(jnp.float32), mask)
  share = mask[..., None].astype(jnp.float32)
  for axis, (before, after) in enumerate(zip(cells, grid, strict=True), 1):
    if before != after:
      weights = axis_weights(before, after)
      x, share = (
        jnp.moveaxis(jnp.tensordot(weights, y, (1, axis)), 0, axis)
        for y in (x, share)
      )
  real = share[..., 0] >= HALF
  return only_real(x / jnp.maximum(share, HALF), real), real


def axis_weights(before: int, after: int) -> np.ndarray:
  """Returns [after, before] float32, what each new cell takes of the old ones.

  Rows sum to 1. A larger cell is the mean of what it covers, in parts too. A
  smaller one lies between the two nearest centres, linearly; beyond the
  outermost centres the border goes on.

  Args:
    before: cells along an axis.
    after: cells along the same axis of the result.
  """
  old, new = np.arange(before), np.arange(after)[:, None]
  ratio = before / after
  if after < before:
    covered = np.minimum((new + 1) * ratio, old + 1) - np.maximum(
      new * ratio, old
    )
    weights = np.maximum(covered, 0) / ratio
  else:
    place = np.clip((new + 0.5) * ratio - 0.5, 0, before - 1)
    weights = np.maximum(1 - np.abs(place - old), 0)
  return weights.astype(np.float32)
