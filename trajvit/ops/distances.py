"""Distances between all pairs of features."""

import jax
import jax.numpy as jnp

from trajvit.ops.unit import unit


def squared_distances(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
  """Returns |x_i - y_j|^2 for every pair.

  It is |x|^2 + |y|^2 - 2 x y in float32 at full precision, so that nothing has
  the size M * N * D; what rounding leaves below 0 is 0. Near points of a large
  common mean therefore lose digits.

  Args:
    x: [..., M, D].
    y: [..., N, D]; None for `x` itself: then exactly symmetric, and 0 on the
      diagonal.

  Returns:
    [..., M, N] float32, not negative.
  """
  x = x.astype(jnp.float32)
  other = x if y is None else y.astype(jnp.float32)
  squared = (
    jnp.square(x).sum(-1)[..., :, None]
    + jnp.square(other).sum(-1)[..., None, :]
    - 2 * _products(x, other)
  )
  squared = jnp.maximum(squared, 0)
  return _as_own(squared) if y is None else squared


def euclidean_distances(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
  """Returns |x_i - y_j| as `squared_distances`; the gradient at 0 is 0."""
  squared = squared_distances(x, y)
  some = squared > 0
  return jnp.where(some, jnp.sqrt(jnp.where(some, squared, 1)), 0)


def cosine_distances(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
  """Returns 1 - cos(x_i, y_j) in [0, 2] for every pair.

  Args:
    x: [..., M, D].
    y: [..., N, D]; None for `x` itself: then exactly symmetric, and 0 on the
      diagonal.

  Returns:
    [..., M, N] float32. A vector of zeros has the distance 1 to all others.
  """
  x = unit(x)
  other = x if y is None else unit(y)
  distance = jnp.clip(1 - _products(x, other), 0, 2)
  return _as_own(distance) if y is None else distance


def _products(x, y):
  """[..., M, D] and [..., N, D] to [..., M, N]."""
  highest = jax.lax.Precision.HIGHEST
  return jnp.einsum("...md,...nd->...mn", x, y, precision=highest)


def _as_own(x):
  """[..., N, N] distances of a set to itself without their rounding."""
  x = (x + jnp.swapaxes(x, -1, -2)) / 2
  return jnp.where(jnp.eye(x.shape[-1], dtype=bool), 0, x)
