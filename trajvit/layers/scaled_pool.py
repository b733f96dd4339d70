"""A learned query that reads tokens with wide heads and learned scales."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import attention


class ScaledPool(nnx.Module):
  """What one learned query reads of a set of tokens, and a layer norm.

  Source: the attention pooling of CoCa, arXiv:2205.01917, in the shape of
  VideoPrism's weights, arXiv:2402.13217: heads are together `inner` wide, and
  each channel of a query is scaled by softplus(s) / (softplus(0) sqrt(d)) with
  a learned s that all heads share, which starts at 0.

  Args:
    width: D.
    num_heads: K.
    inner: K d, divisible by `num_heads`.
    epsilon: of the layer norm.
    dtype: of the products; norm and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    inner: int,
    *,
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if inner % num_heads:
      raise ValueError(
        f"num_heads must divide the pool's width {inner}, got {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(dtype=dtype, rngs=rngs)
    init = nnx.initializers.normal(width**-0.5)
    self.latents = nnx.Param(init(rngs.params(), (width,)))
    self.scale = nnx.Param(jnp.zeros(inner // num_heads))
    self.query = Linear(width, inner, **options)
    self.key = Linear(width, inner, **options)
    self.value = Linear(width, inner, **options)
    self.out = Linear(inner, width, **options)
    self.norm = LayerNorm(width, epsilon=epsilon, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, N, D] to [B, D]."""
    query = self.query(self.latents[...]).reshape(self.num_heads, -1)
    scale = jax.nn.softplus(self.scale[...])
    scale /= np.log(2) * np.sqrt(scale.size)
    query = (query * scale).astype(query.dtype)  # [K, d]
    query = jnp.broadcast_to(query, (x.shape[0], 1, *query.shape))
    split = (*x.shape[:-1], self.num_heads, -1)
    key, value = self.key(x).reshape(split), self.value(x).reshape(split)
    read = attention(query, key, value, scale=1.0)  # [B, 1, K, d]
    return self.norm(self.out(read.reshape(x.shape[0], -1)))
