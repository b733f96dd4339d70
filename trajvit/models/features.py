"""Encoders as providers of patch features: clip -> a grid of features.

A provider is called as `features, mask = provider(clip)` with uint8 frames, and
returns [B, t, h, w, D] and [B, t, h, w] bool, True = real; t divides T. It
normalises frames itself, as its weights want them, and tells `width`, D. It is
run as at inference: what reads it may train, or be a probe that does not.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.encoders import ENCODERS, VISION_ENCODERS
from trajvit.layers.stems import STEMS
from trajvit.models.normalization import known_normalization, normalize
from trajvit.models.towers import windows_mask
from trajvit.ops.tokens import zero_masked_frames
from trajvit.table import Table
from trajvit.tokenizers import TOKENIZERS
from trajvit.types import Clip


class EncodedPatches(nnx.Module):
  """What a space-time Transformer makes of its patches.

  Args:
    tokenizer: gives every patch of a grid a token, in raster order, and has
      `grid`, (t, h, w).
    encoder: keeps them all, behind its registers.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(
    self,
    tokenizer: nnx.Module,
    encoder: nnx.Module,
    *,
    normalization: str = "symmetric",
  ):
    self.tokenizer, self.encoder = tokenizer, encoder
    self.width = encoder.width
    self.normalization = known_normalization(normalization)
    self.grid = tuple(getattr(tokenizer, "grid", ()))
    if len(self.grid) != 3:
      raise ValueError(
        "patch features need a tokenizer with a token for every patch of a "
        f"grid (t, h, w), such as tubelet; got {type(tokenizer).__name__}"
      )

  def __call__(self, clip: Clip) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, t, h, w, D] and their mask.

    Raises:
      ValueError: the encoder does not keep every patch.
    """
    tokens, _ = self.tokenizer(normalize(clip, self.normalization))
    tokens, _ = self.encoder(tokens)
    first = self.encoder.registers.shape[0]
    features, mask = tokens.features[:, first:], tokens.mask[:, first:]
    patches = self.grid[0] * self.grid[1] * self.grid[2]
    if features.shape[1] != patches:
      raise ValueError(
        f"the encoder must keep all {patches} patches of {self.grid}, "
        f"got {features.shape[1]} tokens: it has a reducer"
      )
    shape = (features.shape[0], *self.grid)
    return features.reshape(*shape, self.width), mask.reshape(shape)


class StemFeatures(nnx.Module):
  """What a stem makes of every frame by itself.

  Args:
    stem: as in `layers.stems`.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(self, stem: nnx.Module, *, normalization: str = "symmetric"):
    self.stem, self.width = stem, stem.width
    self.normalization = known_normalization(normalization)

  def __call__(self, clip: Clip) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, T, h, w, D], zeros in padding frames, and mask."""
    clip = zero_masked_frames(normalize(clip, self.normalization))
    batch, frames, *image = clip.frames.shape
    x = self.stem(clip.frames.reshape(-1, *image))
    x = x.reshape(batch, frames, *x.shape[1:])
    mask = jnp.ones(x.shape[:-1], bool)
    if clip.frame_mask is not None:
      mask &= clip.frame_mask[:, :, None, None]
    return jnp.where(mask[..., None], x, 0), mask


class TowerFeatures(nnx.Module):
  """The patches of a vision tower of a released model.

  Args:
    vision: as in `encoders.vision`.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(self, vision: nnx.Module, *, normalization: str = "symmetric"):
    self.vision, self.width = vision, vision.width
    self.normalization = known_normalization(normalization)

  def __call__(self, clip: Clip) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, t, h, w, D], zeros in padding, and their mask."""
    clip = zero_masked_frames(normalize(clip, self.normalization))
    x, _ = self.vision(clip.frames)
    mask = windows_mask(clip, x.shape[1])[:, :, None, None]
    mask = jnp.broadcast_to(mask, x.shape[:-1])
    return jnp.where(mask[..., None], x, 0), mask


def encoded_patches(
  *,
  tokenizer: dict,
  encoder: dict,
  normalization: str = "symmetric",
  clip_shape: tuple[int, int, int],
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> EncodedPatches:
  """Patches after a Transformer, such as the video tower of a trained run.

  Args:
    tokenizer: spec of an entry in TOKENIZERS that keeps the grid: tubelet.
    encoder: spec of an entry in ENCODERS, without reducers.
    normalization: of the frames.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  if any(encoder.get("reducers", ())):
    raise ValueError(
      f"patch features need an encoder without reducers, got {encoder}"
    )
  shared = dict(dtype=dtype, rngs=rngs)
  encoder = ENCODERS.build(encoder, **shared)
  tokenizer = TOKENIZERS.build(
    tokenizer,
    width=encoder.width,
    num_heads=encoder.num_heads,
    clip_shape=clip_shape,
    **shared,
  )
  return EncodedPatches(tokenizer, encoder, normalization=normalization)


def stem_features(
  *,
  stem: dict,
  width: int,
  normalization: str = "symmetric",
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> StemFeatures:
  """Cells of a stem, frame by frame, such as a pre-trained ConvNeXt.

  Args:
    stem: spec of an entry in STEMS.
    width: D.
    normalization: of the frames.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  stem = STEMS.build(stem, width=width, dtype=dtype, rngs=rngs)
  return StemFeatures(stem, normalization=normalization)


def tower_features(
  *,
  vision: dict,
  normalization: str = "symmetric",
  clip_shape: tuple[int, int, int],
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> TowerFeatures:
  """Patches of a vision tower, such as that of CLIP, VideoMAE or V-JEPA 2.

  Args:
    vision: spec of an entry in VISION_ENCODERS.
    normalization: of the frames.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  vision = VISION_ENCODERS.build(
    vision, size=clip_shape[1], dtype=dtype, rngs=rngs
  )
  return TowerFeatures(vision, normalization=normalization)


FEATURES = Table(
  "feature provider",
  {
    "encoder": encoded_patches,
    "stem": stem_features,
    "tower": tower_features,
  },
)
