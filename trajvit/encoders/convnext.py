"""ConvNeXt as a vision tower, see `encoders.vision`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.stems.convnext import CONVNEXTS, ConvNeXtBlock
from trajvit.layers.stems.trunk import Trunk


class ConvNeXt(nnx.Module):
  """ConvNeXt, one frame at a time, as DINOv3's weights are.

  Source: arXiv:2201.03545; DINOv3, arXiv:2508.10104. Features are those of the
  last stage, 32 pixels a cell; the pooled one is their mean, normalised.

  Args:
    variant: a name in CONVNEXTS; the next two override its values.
    depths: blocks of each stage.
    widths: channels of each stage, the last of which is D.
    layer_scale: initial factor of a block's branch, for each channel.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  frames = 1

  def __init__(
    self,
    *,
    variant: str = "small",
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    layer_scale: float = 1e-6,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if variant not in CONVNEXTS:
      raise ValueError(
        f"variant must be one of {', '.join(CONVNEXTS)}, got {variant!r}"
      )
    named_depths, named_widths = CONVNEXTS[variant]
    depths, widths = depths or named_depths, widths or named_widths
    self.width = self.outputs = widths[-1]

    def block(channels, rngs):
      return ConvNeXtBlock(channels, layer_scale, dtype=dtype, rngs=rngs)

    self.trunk = Trunk(
      block,
      widths=widths,
      depths=depths,
      stride=4,
      init="trunc_normal",
      remat=remat,
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, T, H / 32, W / 32, D] and [B, T, D].

    Args:
      frames: [B, T, H, W, 3] float, normalised by ImageNet's statistics.

    Raises:
      ValueError: H and W are not multiples of 32 (with four stages).
    """
    lead = frames.shape[:2]
    x = self.trunk.maps(frames.reshape(-1, *frames.shape[2:]))[-1]
    norm = self.trunk.norm
    pooled = norm(x.astype(jnp.float32).mean((1, 2))).reshape(*lead, -1)
    return norm(x).reshape(*lead, *x.shape[1:]), pooled
