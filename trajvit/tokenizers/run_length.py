"""Run-length tokens: patches that changed, and how long they last."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.levels import as_score
from trajvit.ops.runs import keep_most_changed, runs
from trajvit.pixels import ChangeRule
from trajvit.tokenizers.kept_patches import KeptPatches, with_size
from trajvit.types import Clip, Tokens


class RunLengthTokenizer(KeptPatches):
  """RLT: keeps the patches that changed, each for the run until the next.

  A patch of the first tubelets is kept, and a later one if its last frame
  differs from the first frame of the tubelet before it by more than the
  threshold, in the mean over pixels and channels of |difference|. The size of a
  token is the length of its run: the real tubelets at its place up to the next
  one kept. Source: RLT, arXiv:2411.05222.

  Here the difference is taken of the whole levels 0 to 255 that the normalised
  pixels stand for, see `pixels.ChangeRule`, so that a loader that packs counts
  exactly as many tokens. Lengths belong to the tokens they are of; in the
  released code they are listed in another order than the tokens. As there, a
  drift too slow for two neighbours to show it is not seen.

  Args:
    patch: (frames, side, side) of a tubelet.
    threshold: in units of the normalised frames; as much is no change. None
      keeps the k patches that changed most, so that all slots are filled.
    lengths: whether a learned vector for the length is added to each token.
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
    threshold: float | None = 0.1,
    lengths: bool = False,
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
    if threshold is None and k is None:
      raise ValueError("threshold None keeps k patches, and needs a k")
    self.fills = threshold is None
    self.rule = ChangeRule(self.patch, threshold or 0.0, self.normalization)
    init = nnx.initializers.truncated_normal(0.02)
    shape = (self.tubelets[0], width)
    self.lengths = nnx.Param(init(rngs.params(), shape)) if lengths else None

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the patches that changed, and how much."""
    change = self.change(clip, self.rule.weights)
    score = as_score(change)
    if self.fills:
      # All beyond k are dropped on purpose: none of them overflows.
      return keep_most_changed(score, mask, self.k), score
    return mask & (change > self.rule.limit), score

  def describe(self, tokens: Tokens, kept: jax.Array, mask: jax.Array):
    """Returns the tokens with the lengths of runs as their sizes."""
    length = runs(kept, mask).length
    tokens = with_size(tokens, length)
    if self.lengths is None:
      return tokens
    row = jnp.maximum(length.reshape(tokens.mask.shape) - 1, 0)
    added = self.lengths[...][row].astype(tokens.features.dtype)
    return dataclasses.replace(tokens, features=tokens.features + added)
