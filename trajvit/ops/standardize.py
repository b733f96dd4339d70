"""Layer norm without parameters."""

import jax
import jax.numpy as jnp


def standardize(x: jax.Array, *, epsilon: float = 1e-5) -> jax.Array:
  """Returns [..., D] of mean 0 and variance 1 over D, in the dtype of `x`.

  Computed in float32; `epsilon` is added to the variance.
  """
  y = x.astype(jnp.float32)
  y = y - y.mean(-1, keepdims=True)
  variance = jnp.square(y).mean(-1, keepdims=True)
  return (y * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)
