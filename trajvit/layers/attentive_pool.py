"""Attentive pooling: one learned query reads a set of tokens."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask, attention


class AttentivePool(nnx.Module):
  """Multi-head attention of one learned query, and a layer norm.

  The pooling of attentive probes (V-JEPA, arXiv:2404.08471), without its
  perceptron, so that a probe shows what is in the features rather than what a
  deep head makes of them. The query is learned per head, which is what a linear
  map of a learned query comes to. A norm in front puts features of any frozen
  encoder on one scale.

  Args:
    width: D, divisible by `num_heads`.
    num_heads: K.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, *, num_heads: int, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    if width % num_heads:
      raise ValueError(
        f"num_heads must divide the width {width}, got {num_heads}"
      )
    init = nnx.initializers.normal(0.02)
    shape = (num_heads, width // num_heads)
    self.latents = nnx.Param(init(rngs.params(), shape))
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)
    self.norm_out = LayerNorm(width, dtype=dtype)

  def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns what the query reads of every set, [B, D].

    Args:
      x: [B, N, D].
      mask: [B, N] bool, True = real; what the others hold is never read. A set
        without a real token gives a constant.
    """
    x = self.norm(jnp.where(mask[..., None], x, 0))
    query = self.latents[...].astype(x.dtype)
    query = jnp.broadcast_to(query, (x.shape[0], 1, *query.shape))
    split = (*x.shape[:-1], *query.shape[2:])  # [B, N, K, d]
    key, value = self.key(x).reshape(split), self.value(x).reshape(split)
    read = attention(query, key, value, mask=AttentionMask(keys=mask))
    return self.norm_out(self.out(read.reshape(x.shape[0], -1)))
