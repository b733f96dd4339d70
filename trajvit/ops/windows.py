"""Adaptive pooling: a grid of any size down to a given number of windows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def reduce_windows(
  x: jax.Array, windows: tuple[int, ...], reduce: Callable
) -> jax.Array:
  """Returns `reduce` over every window of the grid.

  Window i of n along an axis of length s covers the indices from floor(i s / n)
  up to ceil((i + 1) s / n), as in PyTorch's adaptive pooling. Where n does not
  divide s, neighbours overlap by one index.

  Args:
    x: [B, s_1, ..., s_k, ...].
    windows: (n_1, ..., n_k), how many windows along each axis.
    reduce: `jnp.max`, `jnp.sum` or another that may be taken axis by axis,
      called as `reduce(x, axis=...)`.

  Returns:
    [B, n_1, ..., n_k, ...].

  Raises:
    ValueError: fewer than one window, or more than there are indices.
  """
  sizes = x.shape[1 : 1 + len(windows)]
  if any(not 1 <= n <= s for n, s in zip(windows, sizes, strict=True)):
    raise ValueError(
      f"windows must be between 1 and the grid {sizes}, got {tuple(windows)}"
    )
  for axis, (count, size) in enumerate(zip(windows, sizes, strict=True), 1):
    edges = [
      (i * size // count, -(-(i + 1) * size // count)) for i in range(count)
    ]
    parts = [
      reduce(jax.lax.slice_in_dim(x, start, stop, axis=axis), axis=axis)
      for start, stop in edges
    ]
    x = jnp.stack(parts, axis)
  return x
