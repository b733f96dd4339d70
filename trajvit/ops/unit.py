"""Vectors of norm 1."""

import jax
import jax.numpy as jnp


def unit(x: jax.Array) -> jax.Array:
  """Returns x / max(|x|, 1e-12) in float32, with a finite gradient at 0.

  Args:
    x: [..., D].
  """
  x = x.astype(jnp.float32)
  square = jnp.square(x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
