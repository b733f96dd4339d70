"""Clips to nested tokens and back to frames."""

import jax
from flax import nnx

from trajvit.models.latents import KLLatents
from trajvit.models.nested import nested_probabilities, nested_tokens
from trajvit.models.normalization import known_normalization, normalize
from trajvit.models.reconstruction import Reconstruction
from trajvit.ops.tokens import masked_mean
from trajvit.ops.unit import unit
from trajvit.types import Batch, Clip, Tokens

# Of what is drawn for latents; all else is split from the key.
STREAM = 3


class Autoencoder(nnx.Module):
  """A tokenizer that is trained to say what a clip looks like.

  In training a number k of first tokens is drawn for every clip, and the
  decoder gets no more (nested dropout), so that they are in the order of what
  they tell. Sources: FlexTok, arXiv:2502.13967; One-D-Piece, arXiv:2501.10064;
  without nested dropout TiTok, arXiv:2406.07550.

  Args:
    tokenizer: Clip -> Tokens, such as `registers`.
    reconstruction: from these back to frames.
    latents: what the tokenizer reads and the reconstruction makes in place of
      frames: latents of these, of a frozen autoencoder. None: the frames.
    nested: of `ops.nested.keep_probabilities`, such as `{"mode": "uniform"}`;
      None keeps all.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(
    self,
    tokenizer: nnx.Module,
    reconstruction: Reconstruction,
    *,
    latents: KLLatents | None = None,
    nested: dict | None = None,
    normalization: str = "symmetric",
  ):
    self.tokenizer, self.reconstruction = tokenizer, reconstruction
    self.latents = latents
    self.normalization = known_normalization(normalization)
    self.probabilities = nested_probabilities(tokenizer, nested)

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the frames as they are made from the tokens.

    Args:
      batch: `clip.frames` uint8; `budget` says how many tokens of a step are
        read, see Batch.
      key: given in training.

    Returns:
      frames: [B, T, H, W, 3] float32 in the normalised space; None in training
        from a decoder that made only some patches, or latents.
      target_frames: the same of the clip.
      video_embedding: [B, D] float32 of norm 1, the mean of the kept tokens.
      tokens: the kept Tokens, before they are quantized.
      aux: {"tokenizer", "quantizer", "decoder"}; in training "adversarial",
        "perceptual", "prior" and "alignment" too, where the reconstruction has
        these.
      batch_stats: new running statistics, {} where there are none.
      metrics: {name: scalar} for the log.
    """
    keys = (None,) * 3 if key is None else jax.random.split(key, 3)
    clip = normalize(batch.clip, self.normalization)
    seen = self._seen(clip, key=key)
    tokens, read = self.tokenizer(seen, key=keys[0])
    kept = nested_tokens(
      self.tokenizer,
      tokens,
      budget=batch.budget,
      probabilities=self.probabilities,
      key=keys[1],
    )
    made = self.reconstruction(
      tokens,
      kept.mask,
      seen,
      pixels=clip.frames,
      valid=batch.valid,
      key=keys[2],
    )
    made |= {
      "frames": self._frames(made["frames"], clip, train=key is not None),
      "target_frames": clip.frames,
    }
    stats = {
      "tokenizer": read.pop("batch_stats", {}),
      "reconstruction": made["batch_stats"],
    }
    return made | {
      "video_embedding": unit(masked_mean(kept)),
      "tokens": kept,
      "aux": made["aux"] | {"tokenizer": read},
      "batch_stats": {name: new for name, new in stats.items() if new},
    }

  def encode_video(self, clip: Clip) -> jax.Array:
    """Returns [B, D] float32 of norm 1; `clip.frames` are uint8."""
    return unit(masked_mean(self.tokenize(clip)))

  def tokenize(self, clip: Clip) -> Tokens:
    """Returns the tokens before they are quantized; frames are uint8."""
    return self.tokenizer(self._seen(normalize(clip, self.normalization)))[0]

  def decode(self, tokens: Tokens, indices: jax.Array, **options) -> jax.Array:
    """Returns frames [B, T, H, W, 3] of indices alone.

    Args:
      tokens: see `Reconstruction.decode`, and the others.
      indices: [B, N, G] int32.
      **options: of the decoder.
    """
    made = self.reconstruction.decode(tokens, indices, **options)
    return made if self.latents is None else self.latents.decode(made)

  def _seen(self, clip, *, key=None):
    """The normalised clip as the tokenizer reads it."""
    if self.latents is None:
      return clip
    key = None if key is None else jax.random.fold_in(key, STREAM)
    return self.latents.encode(clip, key=key)

  def _frames(self, made, clip, *, train):
    """Frames of what the reconstruction made; latents wait for inference."""
    if self.latents is None:
      return made
    if train:
      return None
    return self.latents.decode(made, frame_mask=clip.frame_mask)
