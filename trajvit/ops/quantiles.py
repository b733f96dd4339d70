"""Cutting a row of cells where shares of a mass are reached, with gradients.

Cells are the unit intervals [j, j + 1) of [0, L]; an edge is a real number in
[0, L], so that a cut may pass through a cell.
"""

import jax
import jax.numpy as jnp


def quantile_edges(mass: jax.Array, count: int) -> jax.Array:
  """Returns the edges of `count` intervals that hold equal shares of the mass.

  The inverse of the cumulated mass, which grows linearly inside a cell, at the
  shares i / count: piecewise differentiable in the mass. Source: DART,
  arXiv:2506.10390.

  Args:
    mass: [..., L] float32, not negative.
    count: K, number of intervals.

  Returns:
    [..., K + 1] float32, never falling, from 0 to L. A row without any mass is
    cut at its end, K - 1 times.
  """
  length = mass.shape[-1]
  total = jnp.cumsum(mass, axis=-1)  # [..., L]
  share = jnp.arange(1, count) / count * total[..., -1:]  # [..., K - 1]
  # The cell in which each share is reached: as many cells end before it.
  before = (total[..., None, :] < share[..., None]).sum(-1)
  before = jnp.minimum(before, length - 1)
  inside = jnp.take_along_axis(mass, before, axis=-1)
  start = jnp.take_along_axis(total, before, axis=-1) - inside
  some = inside > 0
  step = (share - start) / jnp.where(some, inside, 1)
  step = jnp.where(some, jnp.clip(step, 0, 1), 1)
  ends = jnp.zeros((*mass.shape[:-1], 1), step.dtype)
  # Rounding in the cumulated mass could make two close cuts swap places.
  cuts = jax.lax.cummax(before + step, axis=mass.ndim - 1)
  cuts = jnp.where(total[..., -1:] > 0, cuts, length)
  return jnp.concatenate([ends, cuts, ends + length], axis=-1)


def overlap(edges: jax.Array, length: int) -> jax.Array:
  """Returns how much of each cell lies in each interval.

  Args:
    edges: [..., K + 1] float32, never falling, from 0 to L.
    length: L.

  Returns:
    [..., K, L] float32 in [0, 1]; over the intervals they sum to 1.
  """
  cells = jnp.arange(length)
  start, stop = edges[..., :-1, None], edges[..., 1:, None]
  width = jnp.minimum(stop, cells + 1) - jnp.maximum(start, cells)
  return jnp.maximum(width, 0)
