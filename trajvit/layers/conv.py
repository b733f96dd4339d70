"""Two-dimensional convolution."""

import jax
import jax.numpy as jnp
from flax import nnx


class Conv(nnx.Module):
  """Convolution of images [B, H, W, C], padded alike on both sides.

  Args:
    inputs: channels in.
    outputs: channels out.
    kernel_size: rows = columns of the kernel.
    stride: of both axes.
    bias: whether there is one.
    dtype: of the products.
    rngs: holds the key of the initial values, Kaiming normal by fan-out.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernel_size: int,
    *,
    stride: int = 1,
    bias: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.stride, self.dtype = stride, dtype
    self.padding = (kernel_size - 1) // 2
    init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
    shape = (kernel_size, kernel_size, inputs, outputs)
    self.kernel = nnx.Param(init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, ~H / stride, ~W / stride, outputs]."""
    y = jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      self.kernel[...].astype(self.dtype),
      window_strides=(self.stride, self.stride),
      padding=[(self.padding, self.padding)] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y if self.bias is None else y + self.bias[...].astype(self.dtype)
