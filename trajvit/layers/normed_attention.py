"""Self-attention whose queries and keys have unit variance in each head."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.linear import Linear
from trajvit.ops.attention import attention
from trajvit.ops.standardize import standardize


class NormedAttention(nnx.Module):
  """Multi-head self-attention with normed queries and keys, without biases.

  Source: FlexTok, arXiv:2502.13967. Norms are without parameters, and logits
  are scaled by 8 / d instead of d ** -0.5, so that a learning rate found at one
  width serves others (arXiv:2203.03466); at heads of 64 the two are equal.

  Args:
    width: D, divisible by `num_heads`.
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
    options = dict(bias=False, dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)

  def __call__(self, x: jax.Array, context: Context) -> jax.Array:
    """Maps [B, N, D] to [B, N, D], by the mask and the bias of `context`."""
    query, key, value = (
      linear(x).reshape(*x.shape[:-1], self.num_heads, -1)
      for linear in (self.query, self.key, self.value)
    )
    read = attention(
      standardize(query),
      standardize(key),
      value,
      mask=context.mask,
      bias=context.bias,
      scale=8 / query.shape[-1],
    )
    return self.out(read.reshape(x.shape))
