"""Transformer blocks."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask


class Block(nnx.Module):
  """Self-attention and a perceptron, each with a residual.

  Args:
    width: D.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    norm: "pre" normalises what enters a branch (ViT, arXiv:2010.11929), "post"
      the sum that leaves it (BERT, arXiv:1810.04805).
    epsilon: of the layer norms.
    activation: of the perceptron.
    init: of the linear maps.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int,
    *,
    norm: str = "pre",
    epsilon: float = 1e-6,
    activation: str = "gelu",
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if norm not in ("pre", "post"):
      raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}")
    self.pre = norm == "pre"
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.norm_attention = LayerNorm(width, epsilon=epsilon, dtype=dtype)
    self.attention = SelfAttention(width, num_heads, **options)
    self.norm_mlp = LayerNorm(width, epsilon=epsilon, dtype=dtype)
    self.mlp = Mlp(width, mlp_dim, activation=activation, **options)

  def __call__(
    self, x: jax.Array, mask: AttentionMask | None = None
  ) -> jax.Array:
    """Maps [B, N, D] to [B, N, D]."""
    if self.pre:
      x += self.attention(self.norm_attention(x), mask)
      return x + self.mlp(self.norm_mlp(x))
    x = self.norm_attention(x + self.attention(x, mask))
    return self.norm_mlp(x + self.mlp(x))
