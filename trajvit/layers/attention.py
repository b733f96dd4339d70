"""Multi-head self-attention."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.ops.attention import AttentionMask, attention


class SelfAttention(nnx.Module):
  """Multi-head self-attention over a sequence.

  Args:
    width: D, divisible by `num_heads`.
    num_heads: K.
    init: of the linear maps, see `layers.linear`.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if width % num_heads:
      raise ValueError(
        f"width must be divisible by num_heads, got {width} and {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)

  def __call__(
    self, x: jax.Array, mask: AttentionMask | None = None
  ) -> jax.Array:
    """Maps [B, N, D] to [B, N, D]; see `ops.attention` for `mask`."""
    split = (*x.shape[:-1], self.num_heads, -1)
    query = self.query(x).reshape(split)  # [B, N, K, d]
    key, value = self.key(x).reshape(split), self.value(x).reshape(split)
    return self.out(attention(query, key, value, mask=mask).reshape(x.shape))
