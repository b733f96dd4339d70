"""Layer norm and temporal attention that know the time since the start."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import Coordinates, from_pattern
from trajvit.ops.attention.patterns import FrameCausal

# Frames in a tile of the causal mask: clips of up to so many are one tile.
BLOCK = 16


class TimeNorm(nnx.Module):
  """Adaptive layer norm: scaled and shifted by an embedding of time.

  Source: DiT, arXiv:2212.09748. At the start it is a layer norm.

  Args:
    width: C.
    embedding: channels of the embedding.
    dtype: of the result.
    rngs: holds the key of the initial values.
  """

  def __init__(self, width, *, embedding: int, dtype, rngs: nnx.Rngs):
    self.norm = LayerNorm(width, dtype=dtype)
    self.time = Linear(
      embedding, 2 * width, init="zeros", dtype=dtype, rngs=rngs
    )

  def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
    """Returns [..., C] for x [..., C] and time [..., embedding]."""
    shift, scale = jnp.split(self.time(time), 2, axis=-1)
    return self.norm(x) * (1 + scale) + shift


class CausalTimeLayer(nnx.Module):
  """Adds what a token reads of its own past, through a gate that starts shut.

  Args:
    width: D.
    num_heads: K.
    embedding: channels of the embedding of time.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width, num_heads, *, embedding: int, dtype, rngs: nnx.Rngs
  ):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = TimeNorm(width, embedding=embedding, **options)
    self.attention = SelfAttention(width, num_heads, **options)
    self.gate = Linear(embedding, width, init="zeros", **options)

  def __call__(
    self, x: jax.Array, time: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns [S, T, D].

    Args:
      x: [S, T, D], sequences in time; zeros where masked.
      time: [T, embedding].
      mask: [S, T] bool, True = real; nothing else is read.
    """
    frame = jnp.broadcast_to(
      jnp.arange(x.shape[1], dtype=jnp.int32), mask.shape
    )
    zeros = jnp.zeros_like(frame)
    segment = jnp.where(mask, 0, -1)
    at = Coordinates(segment, frame, zeros, zeros, zeros, frame)
    past = from_pattern(FrameCausal(), at, block_query=BLOCK, block_key=BLOCK)
    y, _ = self.attention(self.norm(x, time), Context(mask=past))
    return jnp.where(mask[..., None], x + self.gate(time) * y, 0)
