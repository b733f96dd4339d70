"""Frames as quadtrees: large nodes where all is alike, small ones elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.unit import unit


def quadtree_levels(height: int, width: int) -> tuple[tuple[int, int], ...]:
  """Returns the sizes (h, w) of a grid's levels, from the coarsest to itself.

  Sides are halved, rounding up, until one is 2 or less.
  """
  levels = [(height, width)]
  while min(levels[-1]) > 2:
    levels.append(tuple(-(-side // 2) for side in levels[-1]))
  return tuple(reversed(levels))


def quadtree(
  features: jax.Array,
  mask: jax.Array,
  *,
  threshold: float,
  root_level: int = 0,
) -> tuple[jax.Array, jax.Array]:
  """Returns the node of a quadtree that each cell of a grid is in.

  The feature of a node is the mean of its four children. From the roots down, a
  node is split if the cosine with any of its children is below the threshold.
  Where a side is odd, its first row or column has no partner and stays alone on
  the next level. Source: STTM, arXiv:2507.07990, whose released code compares
  nodes at such an edge with a cell that is not theirs.

  Args:
    features: [..., h, w, D]; what fills masked cells is not read. No gradient
      passes.
    mask: [..., h, w] bool, True = real. Means are over real children, and a
      node without any is none.
    threshold: in [-1, 1], of the cosine; above 1 every node is split.
    root_level: of `quadtree_levels`, where 0 is the coarsest; the grid itself
      if it has no more levels than that.

  Returns:
    owner [..., h, w] int32, the first real cell of the node in raster order, in
    [0, h w), -1 where masked; and [..., h, w, D] float32, the node's feature.
  """
  height, width = mask.shape[-2:]
  levels = quadtree_levels(height, width)
  levels = levels[min(root_level, len(levels) - 1) :]
  parents = [(_parents(h), _parents(w)) for h, w in levels[1:]]

  x = jnp.where(mask[..., None], features, 0).astype(jnp.float32)
  pyramid = [(jax.lax.stop_gradient(x), mask)]
  for parent in reversed(parents):
    x, real = pyramid[0]
    count = _sum_children(real[..., None].astype(jnp.float32), parent)
    mean = _sum_children(x, parent) / jnp.maximum(count, 1)
    pyramid.insert(0, (mean, count[..., 0] > 0))

  # From here down; `rows` and `columns` are of the nodes above each cell.
  active = pyramid[0][1]
  owner = jnp.full(mask.shape, -1, jnp.int32)
  found = jnp.zeros_like(pyramid[-1][0])
  for level, (x, _) in enumerate(pyramid):
    rows = _above([rows for rows, _ in parents[level:]], height)
    columns = _above([columns for _, columns in parents[level:]], width)
    emitted = active
    if level < len(parents):
      child, real = pyramid[level + 1]
      cosine = (unit(child) * unit(_spread(x, *parents[level]))).sum(-1)
      differs = (real & (cosine < threshold)).astype(jnp.float32)
      differing = _sum_children(differs[..., None], parents[level])[..., 0]
      split = active & (differing > 0)
      emitted = active & ~split
      active = real & _spread(split[..., None], *parents[level])[..., 0]
    here = _spread(emitted[..., None], rows, columns)
    top, left = (np.searchsorted(at, at) for at in (rows, columns))
    corner = top[:, None] * width + left
    owner = jnp.where(mask & here[..., 0], corner, owner)
    found = jnp.where(here, _spread(x, rows, columns), found)
  first = _first_real(owner.reshape(*mask.shape[:-2], -1)).reshape(mask.shape)
  return first, jnp.where(mask[..., None], found, 0)


def _parents(side):
  """[side] int, the parent of every row; an odd side's first row is alone."""
  return (np.arange(side) + side % 2) // 2


def _above(parents, side):
  """[side] int, the row some levels above that each row of cells is in."""
  at = np.arange(side)
  for parent in reversed(parents):
    at = parent[at]
  return at


def _spread(x, rows, columns):
  """[..., H, W, D] at rows [h] and columns [w] to [..., h, w, D]."""
  return x[..., rows[:, None], columns, :]


def _sum_children(x, parent):
  """[..., h, w, D] to the sums over children [..., H, W, D]."""
  rows, columns = (np.eye(at[-1] + 1, dtype=np.float32)[at] for at in parent)
  return jnp.einsum(
    "...ijd,ir,jc->...rcd",
    x,
    rows,
    columns,
    precision=jax.lax.Precision.HIGHEST,
  )


@functools.partial(jnp.vectorize, signature="(n)->(n)")
def _first_real(labels):
  """[n] labels in [0, n), -1 = masked, to the first index of each label."""
  count = labels.shape[0]
  real = labels >= 0
  bins = jnp.where(real, labels, count)
  first = jnp.full(count, count, jnp.int32)
  first = first.at[bins].min(jnp.arange(count, dtype=jnp.int32), mode="drop")
  return jnp.where(real, first[labels], -1)
