"""Linear map on the last axis."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.mesh import tokens_are_cut

INITIALIZERS = {
  "lecun": nnx.initializers.lecun_normal(),
  "trunc_normal": nnx.initializers.truncated_normal(0.02),
  "torch": nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
  "zeros": nnx.initializers.zeros,
}


class Linear(nnx.Module):
  """x @ kernel + bias, as one product of two matrices.

  Leading axes are flattened first: XLA's weight gradient of a product of higher
  rank is several times slower on CPU, and no faster elsewhere. They are not
  where devices share out the tokens of a clip, who would have to gather them.

  Args:
    inputs: input width.
    outputs: output width.
    bias: whether there is one; it starts at zero.
    init: of the kernel [inputs, outputs], a name in INITIALIZERS; "torch" is
      U(-1/sqrt(inputs), 1/sqrt(inputs)).
    dtype: of the product; parameters are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    bias: bool = True,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.dtype = dtype
    kernel = INITIALIZERS[init](rngs.params(), (inputs, outputs), jnp.float32)
    self.kernel = nnx.Param(kernel)
    self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., inputs] to [..., outputs] in `dtype`."""
    kernel = self.kernel[...].astype(self.dtype)
    x = x.astype(self.dtype)
    flat = x if tokens_are_cut() else x.reshape(-1, x.shape[-1])
    y = flat @ kernel
    if self.bias is not None:
      y += self.bias[...].astype(self.dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])
