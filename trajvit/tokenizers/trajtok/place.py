"""Where and when a cell is, as a feature."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.ops.position import fourier

# Frequencies of a coordinate: the finest has a period of 1/5.7 clip or frame.
FREQUENCIES = 8


class Place(nnx.Module):
  """A small perceptron of a cell's (t, y, x).

  Rotary phases tell attention where a cell is, but what is read of it, its
  value, does not: tokens averaged from values know nothing of a motion. Time
  and place mix here before any average over them.

  Time is counted in real frames and runs from 0 to 1 over them, so that one
  motion has the same places at any frame rate, padded or not.

  Args:
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(self, width: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
    options = dict(dtype=dtype, rngs=rngs)
    # One linear map of all three coordinates, in two parts: the part of time
    # need not be computed for every cell, nor that of space for every frame.
    self.time = Linear(2 * FREQUENCIES + 1, width, **options)
    self.space = Linear(4 * FREQUENCIES + 2, width, **options)
    self.out = Linear(width, width, **options)

  def __call__(
    self, grid: tuple[int, int, int], frame_mask: jax.Array | None
  ) -> jax.Array:
    """Returns [B, T, h, w, D], or [1, T, h, w, D] where all frames are real.

    Args:
      grid: (T, h, w).
      frame_mask: [B, T] bool, or None; what comes back for padding has no
        meaning.
    """
    if frame_mask is None:
      frame_mask = jnp.ones((1, grid[0]), bool)
    time = real_time(frame_mask)  # [B, T]
    axes = [(jnp.arange(n) + 0.5) / n for n in grid[1:]]
    space = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)  # [h, w, 2]
    time = self.time(fourier(time[..., None], FREQUENCIES))  # [B, T, D]
    space = self.space(fourier(space, FREQUENCIES))  # [h, w, D]
    hidden = time[:, :, None, None] + space
    return self.out(jax.nn.gelu(hidden, approximate=False))


def real_time(frame_mask: jax.Array) -> jax.Array:
  """Returns when frames are, [B, T] float32: 0 to 1 over the real ones.

  Args:
    frame_mask: [B, T] bool; what comes back for padding has no meaning.
  """
  count = jnp.maximum(frame_mask.sum(1, keepdims=True), 1)
  return (jnp.cumsum(frame_mask, axis=1) - 0.5) / count
