"""Convolution along time, as one product of two matrices."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.ops.masked import only_real


class TemporalConv(nnx.Module):
  """y_t = [x_(t-1), x_t, x_(t+1)] W + b, with zeros beyond the clip.

  Behind a convolution of each frame it makes a factorised convolution of space
  and time. Source: arXiv:1711.11248.

  Args:
    inputs: channels in.
    outputs: channels out.
    init: of W, see `layers.linear`.
    dtype: of the product.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.linear = Linear(3 * inputs, outputs, init=init, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maps [B, T, *, inputs] to [B, T, *, outputs].

    Args:
      x: features of frames.
      mask: [B, T] bool, True = real frame; the others are read as zeros, like
        what is beyond the clip. None: all are real.
    """
    x = only_real(x, mask)
    nothing = jnp.zeros_like(x[:, :1])
    before = jnp.concatenate([nothing, x[:, :-1]], axis=1)
    after = jnp.concatenate([x[:, 1:], nothing], axis=1)
    return self.linear(jnp.concatenate([before, x, after], axis=-1))
