"""Small perceptrons that give every token of a set a number."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask


class ContextScorer(nnx.Module):
  """Scores elements beside the mean of their set.

  Norm, linear map and GELU; then half of the channels give way to their mean
  over the set, and three linear maps, each half as wide as the one before, end
  in one number. Source: the scorer of STTS, arXiv:2111.11591.

  Args:
    inputs: width of the elements.
    width: of what they are mapped to, at least 4.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(self, inputs: int, width: int, *, dtype=jnp.float32, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(inputs, dtype=dtype)
    self.embed = Linear(inputs, width, **options)
    self.layers = nnx.List(
      [
        Linear(width, width // 2, **options),
        Linear(width // 2, width // 4, **options),
        Linear(width // 4, 1, **options),
      ]
    )

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns [..., N] float32; what stands in masked slots means nothing.

    Args:
      x: [..., N, D], zeros in masked slots.
      mask: [..., N] bool.
    """
    x = _gelu(self.embed(self.norm(x)))
    half = x.shape[-1] // 2
    real = mask[..., None]
    mean = jnp.where(real, x[..., half:], 0).sum(-2, keepdims=True)
    mean = mean / jnp.maximum(real.sum(-2, keepdims=True), 1)
    mean = jnp.broadcast_to(mean, x[..., half:].shape).astype(x.dtype)
    x = jnp.concatenate([x[..., :half], mean], axis=-1)
    for layer in self.layers[:-1]:
      x = _gelu(layer(x))
    return self.layers[-1](x)[..., 0].astype(jnp.float32)


class AttentionScorer(nnx.Module):
  """Scores tokens by a perceptron of three layers that look at each other.

  Norm, linear map, self-attention with a residual, and two linear maps.

  Args:
    inputs: D.
    width: of the hidden layers and the attention, which has one head.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(self, inputs: int, width: int, *, dtype=jnp.float32, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(inputs, dtype=dtype)
    self.embed = Linear(inputs, width, **options)
    self.norm_attention = LayerNorm(width, dtype=dtype)
    self.attention = SelfAttention(width, 1, **options)
    self.inner = Linear(width, width, **options)
    self.outer = Linear(width, 1, **options)

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns [B, N] float32; what stands in masked slots means nothing.

    Args:
      x: [B, N, D], zeros in masked slots.
      mask: [B, N] bool.
    """
    x = _gelu(self.embed(self.norm(x)))
    context = Context(mask=AttentionMask(keys=mask))
    x = x + self.attention(self.norm_attention(x), context)[0]
    return self.outer(_gelu(self.inner(x)))[..., 0].astype(jnp.float32)


def _gelu(x):
  return jax.nn.gelu(x, approximate=False)
