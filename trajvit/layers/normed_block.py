"""Transformer blocks without biases, whose norms have no parameters."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.gated_mlp import GatedMlp, gated_dim
from trajvit.layers.normed_attention import NormedAttention
from trajvit.ops.standardize import standardize


class NormedBlock(nnx.Module):
  """A pre-norm block of normed attention and a gated perceptron.

  Source: the encoder of FlexTok, arXiv:2502.13967; its decoder's blocks are
  these, modulated: see `layers.modulated_block`.

  Args:
    width: D.
    num_heads: K.
    mlp_dim: hidden width of the perceptron; None is `gated_dim`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int | None = None,
    *,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    mlp_dim = gated_dim(width) if mlp_dim is None else mlp_dim
    options = dict(dtype=dtype, rngs=rngs)
    self.attention = NormedAttention(width, num_heads, **options)
    self.mlp = GatedMlp(width, mlp_dim, width, bias=False, **options)

  def __call__(self, x: jax.Array, context: Context) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D], by the mask of `context`; aux is {}."""
    x = x + self.attention(standardize(x), context)
    return x + self.mlp(standardize(x)), {}
