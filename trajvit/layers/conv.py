"""Two-dimensional convolution."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers import linear

INITIALIZERS = linear.INITIALIZERS | {
  "kaiming": nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
}


class Conv(nnx.Module):
  """Convolution of images [B, H, W, C], padded with zeros.

  Args:
    inputs: channels in.
    outputs: channels out.
    kernel_size: rows = columns of the kernel.
    stride: of both axes.
    padding: cells in front of and behind both axes; None is half a kernel, on
      both sides.
    groups: of channels, each convolved by itself; `inputs` of them with as many
      outputs make a depthwise convolution.
    bias: whether there is one; it starts at zero.
    init: of the kernel, a name in INITIALIZERS; "kaiming" is normal by fan-out.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    groups: int = 1,
    bias: bool = False,
    init: str = "kaiming",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.stride, self.groups, self.dtype = stride, groups, dtype
    half = (kernel_size - 1) // 2
    self.padding = (half, half) if padding is None else tuple(padding)
    shape = (kernel_size, kernel_size, inputs // groups, outputs)
    kernel = INITIALIZERS[init](rngs.params(), shape, jnp.float32)
    self.kernel = nnx.Param(kernel)
    self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, ~H / stride, ~W / stride, outputs]."""
    y = jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      self.kernel[...].astype(self.dtype),
      window_strides=(self.stride, self.stride),
      padding=[self.padding] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=self.groups,
    )
    return y if self.bias is None else y + self.bias[...].astype(self.dtype)
