"""EVS on pixels: the patches of a clip that changed most."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.levels import as_score
from trajvit.ops.runs import keep_most_changed
from trajvit.pixels import channel_weights
from trajvit.tokenizers.kept_patches import KeptPatches
from trajvit.types import Clip


class EvsTokenizer(KeptPatches):
  """EVS: the first frame whole, then the patches that changed most.

  The budget is the clip's, so that busy frames keep more. Source: efficient
  video sampling, arXiv:2510.14624, which ranks features by cosine: that is the
  reducer `evs`. Here pixels are ranked, before anything is computed of them, by
  the change that `run_length` sees.

  Args:
    patch: (frames, side, side) of a tubelet.
    k: patches kept, at least those of one frame; a clip with fewer real ones
      keeps them all.
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
    k: int,
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
    first = self.tubelets[1] * self.tubelets[2]
    if k < first:
      raise ValueError(f"k must hold the {first} patches of a frame, got {k}")

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the patches that changed most, and how much all did."""
    weights = channel_weights(self.patch[1], self.normalization)
    score = as_score(self.change(clip, weights))
    # All beyond k are dropped on purpose: none of them overflows.
    return keep_most_changed(score, mask, self.k), score
