"""Clips to nested tokens and back to frames."""

import jax
from flax import nnx

from trajvit.models.nested import nested_probabilities, nested_tokens
from trajvit.models.normalization import known_normalization, normalize
from trajvit.models.reconstruction import Reconstruction
from trajvit.ops.tokens import masked_mean
from trajvit.ops.unit import unit
from trajvit.types import Batch, Clip, Tokens


class Autoencoder(nnx.Module):
  """A tokenizer that is trained to say what a clip looks like.

  In training a number k of first tokens is drawn for every clip, and the
  decoder gets no more (nested dropout), so that they are in the order of what
  they tell. Sources: FlexTok, arXiv:2502.13967; One-D-Piece, arXiv:2501.10064;
  without nested dropout TiTok, arXiv:2406.07550.

  Args:
    tokenizer: Clip -> Tokens, such as `registers`.
    reconstruction: from these back to frames.
    nested: of `ops.nested.keep_probabilities`, such as `{"mode": "uniform"}`;
      None keeps all.
    normalization: of the frames, a name in NORMALIZATIONS.
  """

  def __init__(
    self,
    tokenizer: nnx.Module,
    reconstruction: Reconstruction,
    *,
    nested: dict | None = None,
    normalization: str = "symmetric",
  ):
    self.tokenizer, self.reconstruction = tokenizer, reconstruction
    self.normalization = known_normalization(normalization)
    self.probabilities = nested_probabilities(tokenizer, nested)

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the frames as they are made from the tokens.

    Args:
      batch: `clip.frames` uint8; `budget` says how many tokens of a step are
        read, see Batch.
      key: given in training.

    Returns:
      frames: [B, T, H, W, 3] float32 in the normalised space; None from a
        decoder that made only some patches, in training.
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
    tokens, read = self.tokenizer(clip, key=keys[0])
    kept = nested_tokens(
      self.tokenizer,
      tokens,
      budget=batch.budget,
      probabilities=self.probabilities,
      key=keys[1],
    )
    made = self.reconstruction(
      tokens, kept.mask, clip, valid=batch.valid, key=keys[2]
    )
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
    return self.tokenizer(normalize(clip, self.normalization))[0]
