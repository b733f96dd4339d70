"""Blocks in which a part of every head knows when a token is."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.ops.position import rotary


class TimedAttention(SelfAttention):
  """Self-attention whose queries and keys are turned by time, in part.

  A pair of tokens is weighed by how many seconds lie between them, whatever the
  frame rate and wherever the clip starts; the other channels know nothing of
  time. Source: partial rotary embedding, VFRTok, arXiv:2505.12053, known to us
  by its abstract; the share and the frequencies are our choice.

  Args:
    width: D.
    num_heads: K.
    share: of a head's channels that are turned, in (0, 1].
    rate: the fastest of them turns by 1 in 1 / `rate` seconds.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: a share that turns no pair of channels, or is above 1.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    share: float = 0.5,
    rate: float = 8.0,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(width, num_heads, dtype=dtype, rngs=rngs)
    head_dim = width // num_heads
    self.turned, self.rate = int(share * head_dim) // 2 * 2, rate
    if not 0 < self.turned <= head_dim:
      raise ValueError(
        f"share must be in (0, 1] and turn at least two of {head_dim} channels,"
        f" got {share}"
      )

  def __call__(
    self, x: jax.Array, context: Context | None = None
  ) -> tuple[jax.Array, dict]:
    """Maps [B, N, D] to [B, N, D]; aux is {}.

    Raises:
      ValueError: the context has no times.
    """
    if context is None or context.times is None:
      raise ValueError("timed attention needs the times of tokens, got none")
    query, key, value = (self._split(linear(x)) for linear in self._inputs())
    times = context.times * self.rate
    query, key = (rotary(x, times, self.turned) for x in (query, key))
    out, _ = self.method(query, key, value, context)
    return self.out(out.reshape(x.shape)), {}


class TimedBlock(Block):
  """A block with timed attention.

  Args:
    width: D.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    timed: options of `TimedAttention`.
    epsilon: of the layer norms.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_dim: int,
    *,
    timed: dict,
    epsilon: float = 1e-6,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(
      width, num_heads, mlp_dim, epsilon=epsilon, dtype=dtype, rngs=rngs
    )
    self.attention = TimedAttention(
      width, num_heads, dtype=dtype, rngs=rngs, **timed
    )
