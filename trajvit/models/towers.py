"""Towers of released models: images, videos or captions, or both together."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.models.normalization import known_normalization, normalize
from trajvit.ops.token_grid import grid_positions
from trajvit.ops.tokens import zero_masked_frames
from trajvit.ops.unit import unit
from trajvit.types import Batch, Clip, Text, Tokens


class VisionTower(nnx.Module):
  """A tower of images or videos.

  A clip's embedding is the mean over the windows of frames that the tower sees
  at a time, each of norm 1: for an image tower over its frames, the mean
  pooling of CLIP4Clip, arXiv:2104.08860.

  Args:
    vision: frames -> features of patches and pooled ones, see
      `encoders.vision`.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(self, vision: nnx.Module, *, normalization: str = "symmetric"):
    self.vision = vision
    self.normalization = known_normalization(normalization)

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the embeddings of the clips of a batch.

    Args:
      batch: `clip.frames` uint8; text is not read.
      key: unused.

    Returns:
      video_embedding: [B, E] float32 of norm 1.
      tokens: the Tokens of all patches, encoded.
      aux, batch_stats, metrics: {}.
    """
    del key
    tokens, embedding = self._see(batch.clip)
    return {"tokens": tokens, "video_embedding": embedding} | _nothing()

  def encode_video(self, clip: Clip) -> jax.Array:
    """Returns [B, E] float32 of norm 1; `clip.frames` are uint8."""
    return self._see(clip)[1]

  def tokenize(self, clip: Clip) -> Tokens:
    """Returns the encoded patches; `clip.frames` are uint8."""
    return self._see(clip)[0]

  def _see(self, clip):
    """The tokens of a clip, and its embedding."""
    clip = zero_masked_frames(normalize(clip, self.normalization))
    features, pooled = self.vision(clip.frames)
    real = windows_mask(clip, pooled.shape[1])
    embedding = jnp.where(real[..., None], unit(pooled), 0).sum(1)
    return patch_tokens(features, clip), unit(embedding)


class TextTower(nnx.Module):
  """A tower of captions.

  Args:
    text: Text -> features [B, E].
  """

  def __init__(self, text: nnx.Module):
    self.text = text

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the embeddings of the captions of a batch.

    Args:
      batch: `text` [B, L], [B, C, L] or None; clips are not read.
      key: unused.

    Returns:
      text_embedding: [B, E] or [B, C, E] float32 of norm 1; absent without
        text.
      aux, batch_stats, metrics: {}.
    """
    del key
    if batch.text is None:
      return _nothing()
    return {"text_embedding": self.encode_text(batch.text)} | _nothing()

  def encode_text(self, text: Text) -> jax.Array:
    """Returns float32 of norm 1: [B, E], or [B, C, E] for ids [B, C, L]."""
    shape = text.ids.shape
    flat = Text(*(x.reshape(-1, shape[-1]) for x in (text.ids, text.mask)))
    return unit(self.text(flat)).reshape(*shape[:-1], -1)


class TwoTowers(VisionTower, TextTower):
  """Towers of clips and of captions that share an embedding space.

  Args:
    vision: as in `VisionTower`.
    text: as in `TextTower`.
    normalization: of the frames, a name in NORMALIZATIONS.
    temperature: where it starts; it is kept as a logarithm.
    bias: where the logit bias of the sigmoid loss starts.

  Raises:
    ValueError: the towers put out unlike widths.
  """

  def __init__(
    self,
    vision: nnx.Module,
    text: nnx.Module,
    *,
    normalization: str = "symmetric",
    temperature: float = 0.07,
    bias: float = 0.0,
  ):
    if vision.outputs != text.width:
      raise ValueError(
        "both towers must put out as many numbers, got "
        f"{vision.outputs} of vision and {text.width} of text"
      )
    VisionTower.__init__(self, vision, normalization=normalization)
    TextTower.__init__(self, text)
    self.log_temperature = nnx.Param(jnp.log(temperature))
    self.logit_bias = nnx.Param(jnp.array(bias))

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns what both towers do, and `temperature` and `bias`, [] float32.

    Logits are similarities divided by the one and shifted by the other.
    """
    outputs = VisionTower.__call__(self, batch, key=key)
    outputs |= TextTower.__call__(self, batch, key=key)
    return outputs | {
      "temperature": jnp.exp(self.log_temperature[...]),
      "bias": self.logit_bias[...],
    }


def _nothing():
  return {"aux": {}, "batch_stats": {}, "metrics": {}}


def patch_tokens(features: jax.Array, clip: Clip) -> Tokens:
  """Returns the features [B, t, h, w, D] of a clip as t h w Tokens."""
  batch, *grid, width = features.shape
  mask = windows_mask(clip, grid[0])[:, :, None, None]
  mask = jnp.broadcast_to(mask, features.shape[:-1]).reshape(batch, -1)
  real = mask[..., None]
  return Tokens(
    features=jnp.where(real, features.reshape(batch, -1, width), 0),
    mask=mask,
    positions=jnp.where(real, grid_positions(tuple(grid)), 0),
    size=mask.astype(jnp.float32),
  )


def windows_mask(clip: Clip, count: int) -> jax.Array:
  """Returns [B, count] bool, which of equal windows have a real frame."""
  batch = clip.frames.shape[0]
  if clip.frame_mask is None:
    return jnp.ones((batch, count), bool)
  return clip.frame_mask.reshape(batch, count, -1).any(-1)
