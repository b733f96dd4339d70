"""A video and a text tower that meet in one embedding space."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.models.nested import nested_probabilities, nested_tokens
from trajvit.models.normalization import known_normalization, normalize
from trajvit.models.reconstruction import Reconstruction
from trajvit.ops.tokens import masked_mean
from trajvit.ops.unit import unit
from trajvit.types import Batch, Clip, Text, Tokens


class VideoText(nnx.Module):
  """Two towers, trained so that a clip and its caption have like embeddings.

  Source: CLIP, arXiv:2103.00020; TrajViT, arXiv:2505.23617, for video.

  Args:
    tokenizer: Clip -> Tokens.
    encoder: Tokens -> Tokens, packed as the batch's layout says, if it has one.
    text: Text -> features [B, D].
    embed_dim: E.
    pool: "cls", the encoder's first register, or "mean" of the other tokens.
    normalization: of the frames, a name in NORMALIZATIONS; "symmetric" is
      [-1, 1].
    temperature: where it starts; it is learned as a logarithm.
    temperature_range: it stays inside.
    bias: where the logit bias of the sigmoid loss starts.
    projection_bias: whether the projections into the space have one, as in
      TrajViT's code.
    reconstruction: from the tokenizer's tokens back to frames, to be trained
      together; None makes none.
    nested: of `ops.nested.keep_probabilities`, such as `{"mode": "uniform"}`:
      in training the encoder and the reconstruction get a number of first
      tokens that is drawn for every clip. None gives them all.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    tokenizer: nnx.Module,
    encoder: nnx.Module,
    text: nnx.Module,
    *,
    embed_dim: int,
    pool: str = "cls",
    normalization: str = "symmetric",
    temperature: float = 0.07,
    temperature_range: tuple[float, float] = (0.001, 0.5),
    bias: float = -10.0,
    projection_bias: bool = False,
    reconstruction: Reconstruction | None = None,
    nested: dict | None = None,
    rngs: nnx.Rngs,
  ):
    if pool not in ("cls", "mean"):
      raise ValueError(f"pool must be 'cls' or 'mean', got {pool!r}")
    if pool == "cls" and not encoder.registers.shape[0]:
      raise ValueError("pool 'cls' needs an encoder with registers >= 1, got 0")
    self.tokenizer, self.encoder, self.text = tokenizer, encoder, text
    self.reconstruction = reconstruction
    self.probabilities = nested_probabilities(tokenizer, nested)
    self.pool, self.normalization = pool, known_normalization(normalization)
    self.log_range = tuple(float(np.log(x)) for x in temperature_range)
    options = dict(bias=projection_bias, rngs=rngs)
    self.project_video = Linear(encoder.width, embed_dim, **options)
    self.project_text = Linear(text.width, embed_dim, **options)
    self.log_temperature = nnx.Param(jnp.log(temperature))
    self.logit_bias = nnx.Param(jnp.array(bias))

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the embeddings of a batch.

    Args:
      batch: `clip.frames` uint8; `text` [B, L], [B, C, L] or None; `budget` of
        nested tokens or None.
      key: given in training.

    Returns:
      video_embedding: [B, E] float32 of norm 1.
      text_embedding: [B, E] or [B, C, E], likewise; absent without text.
      temperature: [] float32; logits are similarities divided by it.
      bias: [] float32, of the sigmoid loss.
      tokens: the Tokens that enter the first encoder stage, registers aside.
      encoded: the Tokens that leave the last one, registers first.
      frames, target_frames: with a reconstruction, see `models.autoencoder`.
      aux: {"tokenizer": ..., "encoder": ...}, and with a reconstruction those
        of `models.autoencoder`.
      batch_stats: new running statistics, {} where there are none.
      metrics: {name: scalar} for the log, from the encoder, {} at times; and
        `tokenizer/overflow`, tokens a clip for which the tokenizer had no slot,
        if it tells.
    """
    keys = (None,) * 4
    if key is not None:
      nested, made = (jax.random.fold_in(key, stream) for stream in (2, 3))
      keys = (*jax.random.split(key), nested, made)
    clip = self._normalize(batch.clip)
    tokens, read = self.tokenizer(clip, key=keys[0])
    kept = nested_tokens(
      self.tokenizer,
      tokens,
      budget=batch.budget,
      probabilities=self.probabilities,
      key=keys[2],
    )
    embedding, encoded, seen = self._encode(kept, batch.layout, keys[1])
    entered = seen.pop("tokens")
    aux = {"tokenizer": read, "encoder": seen}
    stats = {name: part.pop("batch_stats", {}) for name, part in aux.items()}
    metrics = seen.pop("metrics", {})
    if "overflow" in read:
      lost = read["overflow"].mean(dtype=jnp.float32)
      metrics["tokenizer/overflow"] = lost
    made = {}
    if self.reconstruction is not None:
      made = self.reconstruction(
        tokens, kept.mask, clip, valid=batch.valid, key=keys[3]
      )
      aux |= made.pop("aux")
      stats["reconstruction"] = made.pop("batch_stats")
      metrics |= made.pop("metrics")
    outputs = {
      "video_embedding": embedding,
      "temperature": jnp.exp(self._log_temperature()),
      "bias": self.logit_bias[...],
      "tokens": entered,
      "encoded": encoded,
      "aux": aux,
      "batch_stats": {name: new for name, new in stats.items() if new},
      "metrics": metrics,
    } | made
    if batch.text is not None:
      outputs["text_embedding"] = self.encode_text(batch.text)
    return outputs

  def encode_video(self, clip: Clip) -> jax.Array:
    """Returns [B, E] float32 of norm 1; `clip.frames` are uint8."""
    return self._encode(self.tokenize(clip), None, None)[0]

  def encode_text(self, text: Text) -> jax.Array:
    """Returns float32 of norm 1: [B, E], or [B, C, E] for ids [B, C, L]."""
    shape = text.ids.shape
    flat = Text(*(x.reshape(-1, shape[-1]) for x in (text.ids, text.mask)))
    embedding = unit(self.project_text(self.text(flat)))
    return embedding.reshape(*shape[:-1], -1)

  def tokenize(self, clip: Clip) -> Tokens:
    """Returns the tokenizer's tokens; `clip.frames` are uint8."""
    return self.tokenizer(self._normalize(clip))[0]

  def _encode(self, tokens, layout, key):
    """The embeddings, the encoded tokens, and the encoder's aux."""
    encoded, aux = self.encoder(tokens, layout=layout, key=key)
    if self.pool == "cls":
      pooled = encoded.features[:, 0]
    else:
      pooled = masked_mean(encoded)
    return unit(self.project_video(pooled)), encoded, aux

  def _normalize(self, clip):
    return normalize(clip, self.normalization)

  def _log_temperature(self):
    """The parameter kept inside its range, with the gradient let through.

    A plain clip has no gradient outside: the temperature could never return.
    """
    value = self.log_temperature[...]
    inside = jnp.clip(value, *self.log_range)
    return value + jax.lax.stop_gradient(inside - value)
