"""A small Vision Transformer over the patches of every frame."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.layers.stems.patch import PatchLinear, check_frame_size
from trajvit.ops.position import sinusoid


class ViTStem(nnx.Module):
  """Linear patches and Transformer blocks, one frame at a time.

  Source: arXiv:2010.11929, with sinusoids of a patch's place in [0, 1] in the
  place of its table, so that frames may have any size.

  Args:
    patch: pixels on a side of a patch, which is a cell.
    depth: number of blocks.
    num_heads: K.
    mlp_ratio: hidden width of a perceptron, in widths.
    remat: what of a block is computed twice, see `layers.remat`.
    width: D, divisible by 4 and by `num_heads`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    patch: int = 8,
    depth: int = 4,
    num_heads: int = 4,
    mlp_ratio: int = 4,
    remat: str | bool = "none",
    width: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if width % 4:
      raise ValueError(f"width must be divisible by 4, got {width}")
    self.stride, self.width, self.dtype = patch, width, dtype

    def block(rngs):
      hidden = mlp_ratio * width
      return Block(width, num_heads, hidden, dtype=dtype, rngs=rngs)

    self.embed = PatchLinear(3, width, patch, dtype=dtype, rngs=rngs)
    self.blocks = Stack(block, depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(width, dtype=dtype)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Maps [N, H, W, 3] to [N, H / patch, W / patch, D].

    Raises:
      ValueError: H and W are not multiples of the patch.
    """
    check_frame_size(frames, self.stride)
    x = self.embed(frames)  # [N, h, w, D]
    axes = [(jnp.arange(n) + 0.5) / n for n in x.shape[1:3]]
    centers = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)  # [h, w, 2]
    x += sinusoid(centers, self.width).astype(self.dtype)
    features, _ = self.blocks(x.reshape(x.shape[0], -1, self.width))
    return self.norm(features).reshape(x.shape)
