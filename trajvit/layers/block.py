"""Transformer blocks."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.layers.statistics import nested
from trajvit.ops.attention import BlockMask


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
    attention: how to attend, see `layers.attention`.
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
    attention: dict | None = None,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if norm not in ("pre", "post"):
      raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}")
    self.pre = norm == "pre"
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.norm_attention = LayerNorm(width, epsilon=epsilon, dtype=dtype)
    self.attention = SelfAttention(
      width, num_heads, method=attention, **options
    )
    self.norm_mlp = LayerNorm(width, epsilon=epsilon, dtype=dtype)
    self.mlp = Mlp(width, mlp_dim, activation=activation, **options)

  def __call__(
    self, x: jax.Array, context: Context | None = None
  ) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D]; aux is that of the attention."""
    if self.pre:
      y, aux = self.attention(self.norm_attention(x), context)
      x += y
      return x + self.mlp(self.norm_mlp(x)), nested("attention", aux)
    y, aux = self.attention(x, context)
    x = self.norm_attention(x + y)
    return self.norm_mlp(x + self.mlp(x)), nested("attention", aux)

  def select(self, x: jax.Array, context: Context) -> BlockMask | None:
    """Returns the tiles for a whole stage; see `layers.attention`."""
    x = self.norm_attention(x) if self.pre else x
    return self.attention.select(x, context)
