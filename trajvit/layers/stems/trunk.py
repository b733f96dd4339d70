"""Stages of blocks, each on half the rows and columns of the one before."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.layers.stems.patch import PatchLinear, check_frame_size


class Trunk(nnx.Module):
  """The feature maps of all stages of a hierarchical network.

  Source: ConvNeXt's layout (arXiv:2201.03545): patches and a norm in front, a
  norm and 2 x 2 patches between stages. As in DINOv3 (arXiv:2508.10104), the
  last map is normalised and the others are not.

  Args:
    make: `make(width, rngs)` builds a block, a module called as
      `block(x) -> (x, aux)` on [N, h, w, width].
    widths: channels of each stage.
    depths: blocks of each stage.
    stride: pixels on a side of a cell of the first stage.
    init: of the patches' matrices, see `layers.linear`.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    make: Callable[[int, nnx.Rngs], nnx.Module],
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    stride: int,
    init: str = "lecun",
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if not widths or len(widths) != len(depths):
      raise ValueError(
        "widths and depths need an entry for each stage, "
        f"got {tuple(widths)} and {tuple(depths)}"
      )
    self.widths, self.stride = tuple(widths), stride
    options = dict(init=init, dtype=dtype, rngs=rngs)
    patches = [PatchLinear(3, widths[0], stride, **options)]
    # Behind the patches of the first stage, in front of those of the others.
    norms = [widths[0], *widths[:-1]]
    for before, after in zip(widths[:-1], widths[1:], strict=True):
      patches.append(PatchLinear(before, after, 2, **options))
    self.patches = nnx.List(patches)
    self.patch_norms = nnx.List([LayerNorm(n, dtype=dtype) for n in norms])
    self.stages = nnx.List(
      [
        Stack(functools.partial(make, width), depth, remat=remat, rngs=rngs)
        for width, depth in zip(widths, depths, strict=True)
      ]
    )
    self.norm = LayerNorm(widths[-1], dtype=dtype)

  def __call__(self, frames: jax.Array) -> list[jax.Array]:
    """Returns a map [N, h / 2^i, w / 2^i, widths[i]] for every stage i.

    The last is normalised; arguments and errors are those of `maps`.
    """
    features = self.maps(frames)
    return [*features[:-1], self.norm(features[-1])]

  def maps(self, frames: jax.Array) -> list[jax.Array]:
    """Returns the same maps, of which none is normalised.

    Args:
      frames: [N, H, W, 3] float; h = H / stride and w = W / stride.

    Raises:
      ValueError: H or W cannot be halved so often.
    """
    check_frame_size(frames, self.stride * 2 ** (len(self.widths) - 1))
    x, features = frames, []
    parts = zip(self.patches, self.patch_norms, self.stages, strict=True)
    for i, (patch, norm, blocks) in enumerate(parts):
      x = norm(patch(x)) if i == 0 else patch(norm(x))
      x, _ = blocks(x)
      features.append(x)
    return features
