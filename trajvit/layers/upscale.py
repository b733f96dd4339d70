"""From a grid of features to a finer one, cell by cell.

Source: the mask decoder of Segment Anything (arXiv:2304.02643) as TrajTok uses
it for its high-resolution branch.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm

SCALES = (1, 2, 4, 8)

# PyTorch's start for a transposed convolution counts what a cell makes, not
# what it reads: U(-1/sqrt(4 outputs), 1/sqrt(4 outputs)).
_initial = nnx.initializers.variance_scaling(
  1 / 3, "fan_out", "uniform", in_axis=0, out_axis=(1, 2, 3)
)


class Upscale(nnx.Module):
  """Doublings of a grid with GELUs between, and a linear map.

  Each doubling halves the channels, and a layer norm over channels follows the
  first one. Every step ends with an exact GELU, the linear map as well. As no
  cell reads its neighbours, a part of the grid can be made finer by itself.

  Args:
    width: D of the coarse grid, divisible by `scale`.
    outputs: channels of the fine grid.
    scale: fine cells to a side of a coarse one: 1 (only the map), 2, 4 or 8.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    *,
    outputs: int = 64,
    scale: int = 4,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if scale not in SCALES:
      raise ValueError(f"scale must be one of {SCALES}, got {scale}")
    if width % scale:
      raise ValueError(f"width must be divisible by {scale}, got {width}")
    self.scale = scale
    options = dict(dtype=dtype, rngs=rngs)
    doublings = scale.bit_length() - 1
    widths = [width // 2**i for i in range(doublings + 1)]
    self.double = nnx.List(
      [
        Double(before, after, **options)
        for before, after in zip(widths[:-1], widths[1:], strict=True)
      ]
    )
    self.norm = LayerNorm(widths[1], dtype=dtype) if doublings else None
    self.out = Linear(widths[-1], outputs, init="torch", **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., h, w, D] to [..., h * scale, w * scale, outputs]."""
    for i, double in enumerate(self.double):
      x = double(x)
      x = _gelu(self.norm(x) if i == 0 else x)
    return _gelu(self.out(x))


class Double(nnx.Module):
  """Transposed convolution with kernel and stride 2.

  y[2 i + a, 2 j + b] = bias + x[i, j] @ kernel[:, a, b], with kernel
  [inputs, 2, 2, outputs]; PyTorch's weight is [inputs, outputs, 2, 2].

  Args:
    inputs: channels in.
    outputs: channels out.
    dtype: of the product.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, inputs: int, outputs: int, *, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    self.dtype = dtype
    shape = (inputs, 2, 2, outputs)
    self.kernel = nnx.Param(_initial(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(jnp.zeros(outputs))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., h, w, inputs] to [..., 2 h, 2 w, outputs]."""
    *lead, h, w, inputs = x.shape
    kernel = self.kernel[...].astype(self.dtype)
    outputs = kernel.shape[-1]
    y = x.astype(self.dtype).reshape(-1, inputs) @ kernel.reshape(inputs, -1)
    y = y.reshape(*lead, h, w, 2, 2, outputs)
    y = jnp.swapaxes(y, -4, -3)  # [..., h, 2, w, 2, outputs]
    y = y.reshape(*lead, 2 * h, 2 * w, outputs)
    return y + self.bias[...].astype(self.dtype)


def _gelu(x):
  return jax.nn.gelu(x, approximate=False)
