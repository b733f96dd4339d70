"""From the `reconstruction` part of a config to what makes frames of tokens."""

import jax
from flax import nnx

from trajvit.decoders import DECODERS
from trajvit.layers.decoder import Decoder
from trajvit.models.adversary import Adversary
from trajvit.models.alignment import Alignment
from trajvit.models.feature_net import FeatureNet
from trajvit.models.perceptual import Perceptual
from trajvit.models.prior import CodePrior
from trajvit.models.reconstruction import Reconstruction
from trajvit.quantizers import QUANTIZERS
from trajvit.table import check_arguments


def build_reconstruction(
  *,
  dim: int,
  quantizer: dict,
  decoder: dict,
  norm: bool = True,
  legacy_reshape: bool = False,
  adversarial: dict | None = None,
  perceptual: dict | None = None,
  prior: dict | None = None,
  alignment: dict | None = None,
  tokenizer: nnx.Module,
  width: int,
  normalization: str,
  clip_shape: tuple[int, int, int],
  dtype,
  rngs: nnx.Rngs,
) -> Reconstruction:
  """Returns a bottleneck for tokens, and a decoder behind it.

  Args:
    dim: numbers that a token has in the bottleneck.
    quantizer: spec of an entry in QUANTIZERS.
    decoder: spec of an entry in DECODERS. It is offered the width of the codes
      and, of nested tokens, their number.
    norm: whether tokens are normalised in front of the bottleneck.
    legacy_reshape: whether the registers of an image are mixed up there, as
      released weights of TiTok and One-D-Piece need it, and nothing new should.
    adversarial: arguments of `Adversary`; None has no discriminator.
    perceptual: arguments of `FeatureNet`, those of the run that its weights
      come from; None compares no features.
    prior: arguments of `CodePrior`, of a tokenizer whose number of registers
      is known and a quantizer with one index; None has none.
    alignment: `block` of the decoder, from 0, whose patches are aligned;
      `teacher`, arguments of `FeatureNet` as for `perceptual`; `hidden` and
      `stage` of `Alignment`. None aligns nothing.
    tokenizer: of the tokens.
    width: of the tokens.
    normalization: of the frames, a name in NORMALIZATIONS.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  quantizer = QUANTIZERS.build(quantizer, dim=dim, rngs=rngs)
  offered = dict(width=quantizer.code_dim, clip_shape=clip_shape)
  if hasattr(tokenizer, "num_registers"):
    offered["num_tokens"] = tokenizer.steps * tokenizer.num_registers
  if alignment is not None:
    offered["align_block"] = alignment.get("block")
  decoder = DECODERS.build(decoder, dtype=dtype, rngs=rngs, **offered)

  def beside(stream, what, make, arguments, **context):
    """A part of training; with or without it, all else starts as it does."""
    check_arguments(what, make, arguments)
    aside = jax.random.fold_in(rngs.params.key[...], stream)
    context |= dict(dtype=dtype, rngs=nnx.Rngs(params=aside))
    return make(**arguments, **context)

  if legacy_reshape and getattr(tokenizer, "steps", None) != 1:
    raise ValueError(
      "legacy_reshape mixes registers of one step, of the tokenizer registers; "
      f"got {type(tokenizer).__name__}"
    )
  parts = {"registers": offered["num_tokens"]} if legacy_reshape else {}
  if adversarial is not None:
    parts["adversary"] = beside(1, "adversarial", Adversary, adversarial)
  if perceptual is not None:
    network = beside(2, "perceptual", FeatureNet, perceptual)
    parts["perceptual"] = Perceptual(network, normalization=normalization)
  if prior is not None:
    if len(quantizer.sizes) != 1 or "num_tokens" not in offered:
      raise ValueError(
        "a prior needs a tokenizer of registers and a quantizer with one index "
        f"a token, got {type(tokenizer).__name__} and {quantizer.sizes}"
      )
    sizes = dict(dim=quantizer.code_dim, count=offered["num_tokens"])
    parts["prior"] = beside(3, "prior", CodePrior, prior, **sizes)
  if alignment is not None:
    parts["alignment"] = beside(
      4,
      "alignment",
      build_alignment,
      alignment,
      decoder=decoder,
      normalization=normalization,
    )
  return Reconstruction(
    quantizer,
    decoder,
    width=width,
    norm=norm,
    dtype=dtype,
    rngs=rngs,
    **parts,
  )


def build_alignment(
  *,
  block: int,
  teacher: dict,
  hidden: int,
  stage: int = -1,
  decoder: Decoder,
  normalization: str,
  dtype,
  rngs: nnx.Rngs,
) -> Alignment:
  """Returns what aligns a block of a decoder with a teacher.

  Args:
    block: of the decoder, from 0.
    teacher: arguments of `FeatureNet`, those of the run that its weights come
      from.
    hidden: width inside the projection.
    stage: of the teacher.
    decoder: that was offered `align_block`, the block.
    normalization: of the frames, a name in NORMALIZATIONS.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: a decoder without features of all patches after that block.
  """
  if getattr(decoder, "align_block", None) != block:
    raise ValueError(
      f"alignment of block {block} needs a decoder of all patches, such as "
      "pixel or flow, with no other align_block of its own, "
      f"got {type(decoder).__name__}"
    )
  check_arguments("alignment.teacher", FeatureNet, teacher)
  return Alignment(
    FeatureNet(**teacher, dtype=dtype, rngs=rngs),
    width=decoder.inner_width,
    grid=decoder.grid,
    hidden=hidden,
    stage=stage,
    normalization=normalization,
    dtype=dtype,
    rngs=rngs,
  )
