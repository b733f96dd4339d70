"""Attention over a different choice of tokens in every head."""

import jax
import jax.numpy as jnp


def gather_heads(x: jax.Array, indices: jax.Array) -> jax.Array:
  """Returns [B * K, M, 1, d], the tokens that each head has chosen.

  A head is a row of its own afterwards: its tokens are in another order, or
  are others, than those of the next head.

  Args:
    x: [B, N, K, d].
    indices: [B, K, M] int32 in [0, N).
  """
  taken = jnp.take_along_axis(x.swapaxes(1, 2), indices[..., None], axis=2)
  return taken.reshape(-1, *taken.shape[2:])[:, :, None]


def gather_keys(x: jax.Array, indices: jax.Array) -> jax.Array:
  """Returns [B * K, M], what belongs to the tokens each head has chosen.

  Args:
    x: [B, N], such as the bias of the logits.
    indices: [B, K, M] int32 in [0, N).
  """
  taken = jnp.take_along_axis(x[:, None], indices, axis=2)
  return taken.reshape(-1, taken.shape[2])


def split_heads(x: jax.Array, heads: int) -> jax.Array:
  """Returns [B, K, M, d] of [B * K, M, 1, d]."""
  return x[:, :, 0].reshape(-1, heads, x.shape[1], x.shape[3])
