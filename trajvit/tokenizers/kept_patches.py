"""Space-time patches, of which a rule on the pixels keeps some."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.change import tubelet_mask
from trajvit.ops.levels import level_change, levels
from trajvit.ops.runs import keep_most_changed
from trajvit.ops.selection import select_marked
from trajvit.ops.tokens import zero_masked_frames
from trajvit.pixels import Weights, check_patch, known_normalization
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens


class KeptPatches(nnx.Module):
  """Base of the tokenizers that drop patches by what their pixels show.

  A subclass says which patches are kept, in `choose`. Those that are have the
  features and positions that `tubelet` gives them, in raster order.

  Args:
    patch: (frames, side, side) of a tubelet.
    k: slots. Where more patches are to be kept, those of the highest score are,
      and `overflow` counts the others. None has a slot for every patch, for
      encoders that pack.
    position: of `tubelet`.
    normalization: of the frames that come in, a name in NORMALIZATIONS; the
      model's own unless set.
    width: D.
    clip_shape: (T, H, W) in frames and pixels.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Attributes:
    tubelets: (t, h, w), how many patches there are.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int],
    k: int | None,
    position: str,
    normalization: str,
    width: int,
    clip_shape: tuple[int, int, int],
    dtype,
    rngs: nnx.Rngs,
  ):
    self.patch = tuple(patch)
    check_patch(self.patch)
    self.normalization = known_normalization(normalization)
    self.patches = TubeletTokenizer(
      patch=self.patch,
      position=position,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    t, h, w = self.tubelets = self.patches.grid
    self.k = t * h * w if k is None else k
    if not 1 <= self.k <= t * h * w:
      raise ValueError(f"k must be in [1, {t * h * w}], got {k}")

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns which patches are to be kept, and how much it matters for each.

    Args:
      clip: the clip, masked frames zero.
      mask: [B, t, h, w] bool, True = real.

    Returns:
      [B, t, h, w] bool, and the score [B, t, h, w] float32, that decides where
      there are more than k. Of equals the first is kept.
    """
    raise NotImplementedError

  def describe(self, tokens: Tokens, kept: jax.Array, mask: jax.Array):
    """Returns the tokens of all patches with what the kept ones tell of others.

    Args:
      tokens: N = t h w, in raster order.
      kept: [B, t, h, w] bool, at most k of a clip.
      mask: [B, t, h, w] bool, True = real.
    """
    del kept, mask
    return tokens

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = k tokens in raster order, masked slots last.

    Args:
      clip: `frames` [B, T, H, W, 3] float, normalised.
      key: unused.

    Returns:
      Tokens. Aux: `kept` [B, t, h, w] bool, the patches that have a token;
      `overflow` [B] int32, how many were to have one and found no slot.

    Raises:
      ValueError: the clip is not of the shape this was built for.
    """
    del key
    clip = zero_masked_frames(clip)
    tokens, _ = self.patches(clip)
    mask = tokens.mask.reshape(-1, *self.tubelets)
    keep, score = self.choose(clip, mask)
    keep = keep & mask
    kept = keep_most_changed(score, keep, self.k)
    tokens = self.describe(tokens, kept, mask)
    flat = kept.reshape(tokens.mask.shape)
    tokens, _, _ = select_marked(tokens, flat, self.k)
    overflow = (keep & ~kept).sum((1, 2, 3), dtype=jnp.int32)
    return tokens, {"kept": kept, "overflow": overflow}

  def levels(self, clip: Clip) -> jax.Array:
    """Returns the frames in [0, 255], int32; see `ops.levels.levels`."""
    return levels(
      clip.frames, clip.frame_mask, normalization=self.normalization
    )

  def change(self, clip: Clip, weights: Weights) -> jax.Array:
    """Returns [B, t, h, w] int32; see `ops.levels.level_change`."""
    tubelet, side, _ = self.patch
    return level_change(
      self.levels(clip),
      clip.frame_mask,
      tubelet=tubelet,
      patch=side,
      weights=weights,
    )

  def real_frames(self, clip: Clip) -> jax.Array:
    """Returns [B, t] bool, the tubelet layers with a real frame."""
    if clip.frame_mask is None:
      return jnp.ones((clip.frames.shape[0], self.tubelets[0]), bool)
    return tubelet_mask(clip.frame_mask, self.patch[0])


def with_size(tokens: Tokens, size: jax.Array) -> Tokens:
  """Returns the tokens with sizes [B, t, h, w] in the place of their own."""
  size = size.reshape(tokens.mask.shape).astype(jnp.float32)
  return dataclasses.replace(tokens, size=size)
