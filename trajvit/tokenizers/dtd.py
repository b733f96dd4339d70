"""DTD on pixels: patches unlike the one before them."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.levels import as_score
from trajvit.ops.runs import drop_least_changed
from trajvit.pixels import LEVELS, Weights
from trajvit.tokenizers.kept_patches import KeptPatches
from trajvit.types import Clip


class DtdTokenizer(KeptPatches):
  """DTD: drops patches that are nearly those of one frame earlier.

  Differential token drop, the pixel mode of TimeChat-Online, arXiv:2504.17343:
  the mean |difference| of pixels in [0, 1], between the last frame of a tubelet
  and the first frame of the one before it, kept or not. The first frame is kept
  whole. The mode on features is the reducer `dtd`.

  Args:
    patch: (frames, side, side) of a tubelet.
    threshold: in [0, 1]. What changed less is dropped; or, if `relative`, the
      share of patches that every later frame drops, rounded down.
    relative: see `threshold`.
    k: slots, see KeptPatches; where there are too few, the patches that changed
      most stay.
    position: of `tubelet`.
    normalization: of the frames that come in.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    threshold: float = 0.1,
    relative: bool = False,
    k: int | None = None,
    position: str = "factorized",
    normalization: str = "symmetric",
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(
      patch=patch,
      k=k,
      position=position,
      normalization=normalization,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    if not 0 <= threshold <= 1:
      raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    self.threshold, self.relative = threshold, relative

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the patches that changed, and how much."""
    unit = 3 * LEVELS * self.patch[1] ** 2
    change = self.change(clip, Weights((1, 1, 1), unit))
    score = as_score(change)
    if self.relative:
      patches = self.tubelets[1] * self.tubelets[2]
      drop = int(round(self.threshold * patches, 6))
      return drop_least_changed(score, mask, drop), score
    # 0.1 is not a binary fraction: a product that is meant to be whole is.
    least = math.ceil(round(self.threshold * unit, 6))
    return mask & (change >= least), score
