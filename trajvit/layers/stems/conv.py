"""A plain convolutional stem that trains from scratch in minutes on a CPU."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stems.pyramid import Pyramid
from trajvit.layers.stems.trunk import Trunk


class ConvStem(nnx.Module):
  """Linear patches and 3 x 3 convolutions at a few scales, summed.

  Fine cells keep edges, coarse ones bring context: with the default stages a
  cell sees a square of 22 x 22 cells. Where it lies in the frame it can tell by
  the zeros beyond the border only.

  Args:
    stride: pixels on a side of a cell of the finest stage, such as 4 or 8.
    widths: channels of each stage; every stage halves the grid. The defaults
      cost alike at every stage.
    depths: blocks of each stage.
    remat: what of a block is computed twice, see `layers.remat`. This and
      stages too deep to be unrolled there put convolutions into a loop, where
      they are slow on a CPU.
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    stride: int = 4,
    widths: Sequence[int] = (32, 64, 128),
    depths: Sequence[int] = (1, 1, 1),
    remat: str | bool = "none",
    width: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.stride, self.width = stride, width

    def block(channels, rngs):
      return ResidualConv(channels, dtype=dtype, rngs=rngs)

    options = dict(dtype=dtype, rngs=rngs)
    self.trunk = Trunk(
      block,
      widths=widths,
      depths=depths,
      stride=stride,
      remat=remat,
      **options,
    )
    self.pyramid = Pyramid(widths, width, init="lecun", **options)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Maps [N, H, W, 3] to [N, H / stride, W / stride, D].

    Raises:
      ValueError: H and W are not multiples of stride * 2^(stages - 1).
    """
    return self.pyramid(self.trunk(frames))


class ResidualConv(nnx.Module):
  """x + linear(gelu(conv(norm(x)))), the convolution over 3 x 3 cells."""

  def __init__(self, width, *, dtype, rngs):
    options = dict(init="lecun", dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(width, dtype=dtype)
    self.conv = Conv(width, width, 3, bias=True, **options)
    self.linear = Linear(width, width, **options)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, dict]:
    """Maps [N, h, w, C] to the same; aux is empty."""
    y = jax.nn.gelu(self.conv(self.norm(x)), approximate=False)
    return x + self.linear(y), {}
