"""Feature maps of several sizes, made one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm


class Pyramid(nnx.Module):
  """Projects maps to one width, normalises, resizes and sums them.

  Source: TrajViT (arXiv:2505.23617) and TrajTok. One norm serves all maps. The
  resize is bilinear with half-pixel centres, edges repeated and no antialiasing
  (PyTorch's `align_corners=False`).

  Args:
    inputs: channels of each map.
    width: D of the result.
    init: of the projections, see `layers.linear`; the reference's is "torch".
    dtype: of the products, and of the result.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: Sequence[int],
    width: int,
    *,
    init: str = "torch",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(init=init, dtype=dtype, rngs=rngs)
    self.project = nnx.List([Linear(n, width, **options) for n in inputs])
    self.norm = LayerNorm(width, epsilon=1e-5, dtype=dtype)

  def __call__(self, features: Sequence[jax.Array]) -> jax.Array:
    """Returns [N, h, w, D], the grid of the first map.

    Args:
      features: [N, h_i, w_i, inputs[i]].
    """
    total = 0
    for project, x in zip(self.project, features, strict=True):
      x = self.norm(project(x))
      shape = (*features[0].shape[:3], x.shape[-1])
      total += jax.image.resize(x, shape, "bilinear", antialias=False)
    return total
