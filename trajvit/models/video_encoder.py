"""A video tower alone: no text, no head."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.models.normalization import known_normalization, normalize
from trajvit.ops.tokens import masked_mean
from trajvit.types import Batch, Clip, Tokens


class VideoEncoder(nnx.Module):
  """A tokenizer and an encoder, and one vector of what comes out.

  Args:
    tokenizer: Clip -> Tokens.
    encoder: Tokens -> Tokens.
    pool: "cls", the encoder's first register, or "mean" of the other tokens.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(
    self,
    tokenizer: nnx.Module,
    encoder: nnx.Module,
    *,
    pool: str = "cls",
    normalization: str = "symmetric",
  ):
    if pool not in ("cls", "mean"):
      raise ValueError(f"pool must be 'cls' or 'mean', got {pool!r}")
    if pool == "cls" and not encoder.registers.shape[0]:
      raise ValueError("pool 'cls' needs an encoder with registers >= 1, got 0")
    self.tokenizer, self.encoder, self.pool = tokenizer, encoder, pool
    self.normalization = known_normalization(normalization)

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns what is found in a batch.

    Args:
      batch: `clip.frames` uint8; text is not read.
      key: unused: a tower without a loss is not trained.

    Returns:
      video_embedding: [B, D] float32, not normalised.
      tokens: the Tokens that come out of the encoder, registers first.
      aux: {"tokenizer": ...}, what the tokenizer tells.
    """
    del key
    tokens, aux = self.tokenizer(normalize(batch.clip, self.normalization))
    encoded, _ = self.encoder(tokens)
    return {
      "video_embedding": self._pooled(encoded),
      "tokens": encoded,
      "aux": {"tokenizer": aux},
    }

  def encode_video(self, clip: Clip) -> jax.Array:
    """Returns [B, D] float32, not normalised; `clip.frames` are uint8."""
    return self(Batch(clip))["video_embedding"]

  def tokenize(self, clip: Clip) -> Tokens:
    """Returns the tokenizer's tokens; `clip.frames` are uint8."""
    return self.tokenizer(normalize(clip, self.normalization))[0]

  def _pooled(self, encoded):
    if self.pool == "mean":
      return masked_mean(encoded)
    return encoded.features[:, 0].astype(jnp.float32)
