"""Convolution whose stride is its kernel, as one product of two matrices."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.patches import patchify


class PatchLinear(nnx.Module):
  """Maps every patch of an image by one matrix.

  It equals a convolution with kernel [patch, patch, inputs, outputs], whose
  first three axes are flattened here; the product is what a CPU is fast at.

  Args:
    inputs: channels in.
    outputs: channels out.
    patch: rows = columns of a patch.
    init: of the matrix, see `layers.linear`.
    dtype: of the product.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    patch: int,
    *,
    init: str = "lecun",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.patch = patch
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.linear = Linear(patch * patch * inputs, outputs, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [N, H, W, inputs] to [N, H / patch, W / patch, outputs].

    Raises:
      ValueError: the patch does not divide H and W.
    """
    return self.linear(patchify(x[:, None], (1, self.patch, self.patch))[:, 0])


def check_frame_size(frames: jax.Array, multiple: int) -> None:
  """Raises ValueError unless `multiple` divides H and W of [N, H, W, C]."""
  height, width = frames.shape[1:3]
  if height % multiple or width % multiple:
    raise ValueError(
      f"this stem needs frame sizes that are multiples of {multiple}, "
      f"got {height} x {width}"
    )
