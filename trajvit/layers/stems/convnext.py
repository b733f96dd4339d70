"""ConvNeXt with all four stages read, in the shape of DINOv3's weights.

Where a PyTorch tensor of a TrajTok checkpoint (`backbone` is DINOv3's own
naming) goes, below a stem; s is a stage, j a block, [j] an index of the leading
axis, and `w` and `b` are weight and bias:

| there                                     | here                            |
|-------------------------------------------|---------------------------------|
| backbone.downsample_layers.0.0.w, .b      | trunk.patches.0.linear          |
| backbone.downsample_layers.0.1            | trunk.patch_norms.0             |
| backbone.downsample_layers.s.0            | trunk.patch_norms.s, s > 0      |
| backbone.downsample_layers.s.1.w, .b      | trunk.patches.s.linear, s > 0   |
| backbone.stages.s.j.dwconv.w, .b          | trunk.stages.s.layers.conv[j]   |
| backbone.stages.s.j.norm                  | trunk.stages.s.layers.norm[j]   |
| backbone.stages.s.j.pwconv1.w, .b         | ...layers.mlp.inner[j]          |
| backbone.stages.s.j.pwconv2.w, .b         | ...layers.mlp.outer[j]          |
| backbone.stages.s.j.gamma                 | ...layers.gamma[j]              |
| backbone.norm (norms.3 is a copy)         | trunk.norm                      |
| proj.s.w, .b                              | pyramid.project.s               |
| ln                                        | pyramid.norm                    |

Weights become kernels: of `pwconv` [out, in] and `proj` [out, in, 1, 1] to
[in, out]; of `downsample_layers` [out, in, p, p] to [p p in, out], rows first;
of `dwconv` [C, 1, 7, 7] to [7, 7, 1, C]. The weight of a norm is its scale.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stems.pyramid import Pyramid
from trajvit.layers.stems.trunk import Trunk

# name -> (blocks of each stage, channels of each stage).
CONVNEXTS = {
  "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
  "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
  "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
  "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
}


class ConvNeXtStem(nnx.Module):
  """ConvNeXt (DINOv3's shape), its four stages projected and summed.

  Source: ConvNeXt, arXiv:2201.03545; DINOv3, arXiv:2508.10104, whose weights
  fit and want frames normalised by ImageNet's mean and deviation; TrajTok's way
  to read it. No stochastic depth.

  Args:
    variant: a name in CONVNEXTS; the next two override its values.
    depths: blocks of each stage.
    widths: channels of each stage.
    layer_scale: initial factor of a block's branch, for each channel.
    remat: what of a block is computed twice, see `layers.remat`. The loops
      of this and of deep stages make training slow on a CPU, not inference.
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  stride = 4

  def __init__(
    self,
    *,
    variant: str = "small",
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    layer_scale: float = 1e-6,
    remat: str | bool = "none",
    width: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if variant not in CONVNEXTS:
      raise ValueError(
        f"unknown variant {variant!r}; known: {', '.join(CONVNEXTS)}"
      )
    named_depths, named_widths = CONVNEXTS[variant]
    depths, widths = depths or named_depths, widths or named_widths
    self.width = width

    def block(channels, rngs):
      return ConvNeXtBlock(channels, layer_scale, dtype=dtype, rngs=rngs)

    options = dict(dtype=dtype, rngs=rngs)
    self.trunk = Trunk(
      block,
      widths=widths,
      depths=depths,
      stride=self.stride,
      init="trunc_normal",
      remat=remat,
      **options,
    )
    self.pyramid = Pyramid(widths, width, **options)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Maps [N, H, W, 3] to [N, H / 4, W / 4, D].

    Raises:
      ValueError: H and W are not multiples of 32 (with four stages).
    """
    return self.pyramid(self.trunk(frames))


class ConvNeXtBlock(nnx.Module):
  """x + gamma * mlp(norm(depthwise 7 x 7 convolution of x))."""

  def __init__(self, width, layer_scale, *, dtype, rngs):
    self.dtype = dtype
    options = dict(init="trunc_normal", dtype=dtype, rngs=rngs)
    self.conv = Conv(width, width, 7, groups=width, bias=True, **options)
    self.norm = LayerNorm(width, dtype=dtype)
    self.mlp = Mlp(width, 4 * width, **options)
    self.gamma = nnx.Param(jnp.full(width, layer_scale))

  def __call__(self, x: jax.Array) -> tuple[jax.Array, dict]:
    """Maps [N, h, w, C] to the same; aux is empty."""
    y = self.mlp(self.norm(self.conv(x)))
    return x + self.gamma[...].astype(self.dtype) * y, {}
