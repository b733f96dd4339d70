"""From tokens back to frames: a bottleneck, and a decoder behind it."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.decoder import Decoder
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.statistics import nested
from trajvit.models.adversary import Adversary
from trajvit.models.alignment import Alignment
from trajvit.models.perceptual import Perceptual
from trajvit.models.prior import CodePrior
from trajvit.ops.legacy_reshape import legacy_reshape
from trajvit.ops.tokens import zero_masked
from trajvit.quantizers import Quantizer
from trajvit.types import Clip, Tokens


class Reconstruction(nnx.Module):
  """Tokens -> codes of few numbers -> frames.

  Args:
    quantizer: of the codes, see `quantizers.quantizer`.
    decoder: of tokens as wide as its codes, see `layers.decoder`.
    width: of the tokens.
    norm: whether tokens are normalised on their way to the quantizer, which
      those of a tokenizer that ends in a norm need not be.
    registers: how many there are, to be mixed up as in `ops.legacy_reshape`;
      None leaves them. Released weights need it, and no other model should have
      it: a code is then of no register, and the first k registers alone, which
      a tokenizer might be asked for, have no codes. The decoder may still read
      the first k codes.
    adversary: judges the frames that are made in training; None: nobody does.
    perceptual: compares their features with those of the truth, likewise.
    prior: guesses each code from those in front of it in training, likewise.
    alignment: holds hidden features of the decoder, of its `align_block`, to
      those of a teacher, likewise.
    dtype: of the products; the quantizer is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    quantizer: Quantizer,
    decoder: Decoder,
    *,
    width: int,
    norm: bool = True,
    registers: int | None = None,
    adversary: Adversary | None = None,
    perceptual: Perceptual | None = None,
    prior: CodePrior | None = None,
    alignment: Alignment | None = None,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.quantizer, self.decoder = quantizer, decoder
    self.adversary, self.perceptual = adversary, perceptual
    self.prior, self.alignment = prior, alignment
    self.registers = registers
    self.norm = LayerNorm(width, dtype=dtype) if norm else None
    self.down = Linear(width, quantizer.dim, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    tokens: Tokens,
    kept: jax.Array,
    clip: Clip,
    *,
    pixels: jax.Array | None = None,
    valid: jax.Array | None = None,
    key=None,
  ) -> dict:
    """Returns what a model adds to its outputs.

    Args:
      tokens: all of a clip; the quantizer sees them all, so that its losses and
        its usage do not depend on what is kept.
      kept: [B, N] bool, those that the decoder reads.
      clip: the truth, in the model's normalised space, or its latents.
      pixels: [B, T, H, W, 3], what a teacher sees of it; None: its frames.
      valid: [B] bool, False = a clip that only fills the batch, which an
        adversary and its statistics leave out; None: all are real.
      key: given in training, where the decoder is shown the truth and measures
        its loss; it makes the frames from tokens alone otherwise.

    Returns:
      frames: [B, T, H, W, 3] float32 in the normalised space, None if not all
        patches were decoded.
      target_frames: those of the clip.
      aux: `quantizer`, with its `indices`, of discrete codes their `sizes` [G]
        int32, and `losses`; `decoder`, in training what a loss compares, see
        `layers.decoder`; in training `adversarial`, `perceptual`, `prior` and
        `alignment`, where there are such parts, see these; the last has `kept`
        [B, N] bool besides, the tokens that the decoder read.
      batch_stats: of the quantizer and of the adversary, {} if there are none.
      metrics: {name: scalar}, the quantizer's.

    Raises:
      ValueError: in training, someone is to judge frames that the decoder does
        not make; or some of the registers that are to be mixed up are missing.
    """
    keys = (None,) * 3 if key is None else jax.random.split(key, 3)
    z = self.bottleneck(tokens.features)
    codes, told = self.quantizer(z, tokens.mask, key=keys[0])
    read = zero_masked(
      dataclasses.replace(tokens, features=codes, mask=tokens.mask & kept)
    )
    frames, made = self.decoder(
      read,
      frames=None if key is None else clip.frames,
      frame_mask=clip.frame_mask,
      key=keys[1],
    )
    told = nested("quantizer", told)
    stats, metrics = told.pop("batch_stats", {}), told.pop("metrics", {})
    if self.quantizer.sizes:
      told["sizes"] = jnp.array(self.quantizer.sizes, jnp.int32)
    aux = {"quantizer": told, "decoder": made}
    if key is not None:
      if self.prior is not None:
        aux["prior"] = self._guess(codes, told["indices"], tokens.mask, keys[2])
      mask = _real_frames(clip, valid)
      aux |= self._judge(frames, clip.frames, mask)
      if self.alignment is not None:
        patches = self.decoder.patch_mask(mask, clip.frames.shape[0])
        pixels = clip.frames if pixels is None else pixels
        seen = self.alignment(made["hidden"], patches, pixels, mask)
        aux["alignment"] = seen | {"kept": read.mask}
      if "batch_stats" in aux.get("adversarial", {}):
        stats["adversary"] = aux["adversarial"].pop("batch_stats")
    return {
      "frames": frames,
      "target_frames": clip.frames,
      "aux": aux,
      "batch_stats": stats,
      "metrics": {f"quantizer/{name}": x for name, x in metrics.items()},
    }

  def bottleneck(self, x: jax.Array) -> jax.Array:
    """Returns what the quantizer reads, [B, N, dim], of tokens [B, N, D].

    Raises:
      ValueError: some of the registers that are to be mixed up are missing.
    """
    x = x if self.norm is None else self.norm(x)
    if self.registers is not None:
      if x.shape[1] != self.registers:
        raise ValueError(
          f"legacy_reshape mixes all {self.registers} registers, so that fewer "
          f"have no codes; got {x.shape[1]}"
        )
      x = legacy_reshape(x)
    return self.down(x)

  def decode(self, tokens: Tokens, indices: jax.Array, **options) -> jax.Array:
    """Returns frames [B, T, H, W, 3] of indices [B, N, G] int32 alone.

    Args:
      tokens: whose mask, positions and sizes are those of the indices; their
        features are not read.
      indices: of the quantizer.
      **options: of the decoder.

    Raises:
      ValueError: the codes are continuous.
    """
    codes = self.quantizer.decode_indices(indices)
    read = zero_masked(dataclasses.replace(tokens, features=codes))
    return self.decoder(read, **options)[0]

  def _guess(self, codes, indices, mask, key):
    """What the prior says of the codes of all tokens."""
    size = self.quantizer.sizes[0]
    codebook = self.quantizer.decode_indices(jnp.arange(size)[:, None])
    return self.prior(codes, indices[..., 0], mask, codebook, key=key)

  def _judge(self, made, real, mask):
    """What those say, by name, who look at the frames made in training."""
    parts = {"adversarial": self.adversary, "perceptual": self.perceptual}
    parts = {name: part for name, part in parts.items() if part is not None}
    if parts and made is None:
      raise ValueError(
        f"{' and '.join(parts)} need a decoder that makes whole frames in "
        f"training, such as pixel, got {type(self.decoder).__name__}"
      )
    return {name: part(made, real, mask) for name, part in parts.items()}


def _real_frames(clip, valid):
  """The mask [B, T] of the frames of valid clips; None: all are real."""
  if valid is None:
    return clip.frame_mask
  mask = jnp.broadcast_to(valid[:, None], clip.frames.shape[:2])
  return mask if clip.frame_mask is None else mask & clip.frame_mask
