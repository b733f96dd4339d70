"""Multi-head attention of some tokens to others."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask, attention


class CrossAttention(nnx.Module):
  """Queries read a set that they are no part of; both are normed first.

  Args:
    width: D of both, divisible by `num_heads`.
    num_heads: K.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, num_heads: int, *, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    if width % num_heads:
      raise ValueError(
        f"num_heads must divide the width {width}, got {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(dtype=dtype, rngs=rngs)
    self.norm_queries = LayerNorm(width, dtype=dtype)
    self.norm = LayerNorm(width, dtype=dtype)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)

  def __call__(
    self,
    queries: jax.Array,
    x: jax.Array,
    mask: jax.Array,
    bias: jax.Array | None = None,
  ) -> jax.Array:
    """Returns what the queries read, [B, R, D], to be added to them.

    Args:
      queries: [B, R, D].
      x: [B, N, D].
      mask: [B, N] bool, True = real; what the others hold is never read.
      bias: [B, N] float32, added to the logits of each key; None adds nothing.
    """
    x = self.norm(jnp.where(mask[..., None], x, 0))
    maps = (
      (self.query, self.norm_queries(queries)),
      (self.key, x),
      (self.value, x),
    )
    query, key, value = (
      linear(y).reshape(*y.shape[:2], self.num_heads, -1) for linear, y in maps
    )
    mask = AttentionMask(keys=mask)
    read = attention(query, key, value, mask=mask, bias=bias)
    return self.out(read.reshape(queries.shape))
