"""Attention from a few vectors to a set, which tells what each one read."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear


class AttentionWithShares(nnx.Module):
  """Multi-head attention of M queries to N vectors, and its probabilities.

  It is for few queries: the probabilities are written out as [B, K, M, N]. See
  `layers.cross_attention` for one that tells nothing, and norms what it is
  given.

  Args:
    width: D, divisible by `num_heads`.
    num_heads: K.
    linear: leave out the maps of values and of the result: every head's slice
      of the result is then a mean of the same slice of what was read.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    linear: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if width % num_heads:
      raise ValueError(
        f"width must be divisible by num_heads, got {width} and {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = None if linear else Linear(width, width, **options)
    self.out = None if linear else Linear(width, width, **options)

  def __call__(
    self, queries: jax.Array, keys: jax.Array, x: jax.Array, mask: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns what the queries read, and the mean of their shares over heads.

    Args:
      queries: [B, M, D].
      keys: [B, N, D], what decides, and
      x: [B, N, D], what is read; both without NaN in masked slots.
      mask: [B, N] bool; masked vectors are not read, and of a set without a
        real one nothing is.

    Returns:
      [B, M, D], and [B, M, N] float32, rows of sum 1 or 0.
    """
    query, key = self._split(self.query(queries)), self._split(self.key(keys))
    value = self._split(x if self.value is None else self.value(x))
    logits = jnp.einsum(
      "bqkd,bskd->bkqs", query, key, preferred_element_type=jnp.float32
    )
    real = mask[:, None, None, :]
    logits *= query.shape[-1] ** -0.5
    logits = jnp.where(real, logits, jnp.finfo(jnp.float32).min)
    shares = jnp.where(real, jax.nn.softmax(logits, axis=-1), 0)
    read = jnp.einsum("bkqs,bskd->bqkd", shares.astype(value.dtype), value)
    read = read.reshape(queries.shape)
    out = read if self.out is None else self.out(read)
    return out, shares.mean(1)

  def _split(self, x):
    return x.reshape(*x.shape[:-1], self.num_heads, -1)  # [B, N, K, d]
