"""A block whose one learned query reads a set of tokens."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import attention


class PoolingHead(nnx.Module):
  """What a learned query reads of all tokens, and a perceptron of it.

  Source: the multi-head attention pooling of "Scaling Vision Transformers",
  arXiv:2106.04560, in the shape of SigLIP's weights (arXiv:2303.15343): the
  tokens come normalised, and the query itself is no part of the result.

  Args:
    width: D, divisible by `num_heads`.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    activation: of the perceptron, see `layers.mlp`.
    epsilon: of the layer norm.
    dtype: of the products; norm and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int,
    *,
    activation: str = "gelu",
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if width % num_heads:
      raise ValueError(
        f"num_heads must divide the width {width}, got {num_heads}"
      )
    self.num_heads = num_heads
    options = dict(dtype=dtype, rngs=rngs)
    init = nnx.initializers.normal(0.02)
    self.latents = nnx.Param(init(rngs.params(), (width,)))
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)
    self.norm = LayerNorm(width, epsilon=epsilon, dtype=dtype)
    self.mlp = Mlp(width, mlp_dim, activation=activation, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, N, D] to [B, D]."""
    split = (*x.shape[:-1], self.num_heads, -1)
    query = self.query(self.latents[...]).reshape(self.num_heads, -1)
    query = jnp.broadcast_to(query, (x.shape[0], 1, *query.shape))
    key, value = self.key(x).reshape(split), self.value(x).reshape(split)
    read = attention(query, key, value)  # [B, 1, K, d]
    read = self.out(read.reshape(x.shape[0], -1))
    return read + self.mlp(self.norm(read))
