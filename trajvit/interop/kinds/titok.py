"""TiTok and One-D-Piece, from their authors' files."""

from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import SAME, heads_of, side_of
from trajvit.interop.kinds.titok_names import (
  PIXEL_CODES,
  PIXELS,
  decoder_entries,
  encoder_entries,
)
from trajvit.interop.names import Entry, NameTable

HEADS = {512: 8, 768: 12, 1024: 16}
CODES = "quantize.embedding.weight"
_IMAGES = "It reads one image at a time, a clip of one frame."
_LEGACY = (
  "As in the code that it comes from, registers and channels are mixed up in "
  "front of the codes (`legacy_reshape`): a code is of no register, and all "
  "registers are needed for each. A budget is for the decoder alone, which may "
  "read the first k codes; the first k registers, and the embedding of a clip "
  "at a budget, tell nothing about these."
)
_GAUSSIAN = (
  "Codes are continuous, the means of Gaussians; the code that it comes from "
  "draws from these."
)


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  decoder_heads: int | None = None,
  cosine: bool | None = None,
) -> Plan:
  """Returns what a state dict of TiTok is to become.

  Sources: TiTok, arXiv:2406.07550, whose first models, and all One-D-Piece ones
  (arXiv:2501.10064), make pixels by way of the codes of MaskGIT's VQGAN and mix
  registers with channels; its later ones, and those without a codebook, do
  neither.

  Args:
    shapes: by name.
    compat: changes nothing.
    num_heads: K of the encoder; None = as the released ones of this width.
    decoder_heads: K of the decoder, likewise.
    cosine: whether codes and what they stand for are scaled to norm 1; None =
      as in the released ones, where pixels come by way of codes.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  legacy = "decoder.conv_out.weight" not in shapes
  width, _, side, _ = axes_of(shapes, "encoder.patch_embed.weight", 4)
  cells = _cells(shapes, "encoder")
  decoder = _decoder(shapes, decoder_heads, cells * side, legacy)
  quantizer = _quantizer(shapes, legacy if cosine is None else cosine)
  model = dict(
    name="autoencoder",
    tokenizer=dict(
      name="registers",
      num_registers=axes_of(shapes, "latent_tokens", 2)[0],
      patch=(1, side, side),
      position="table",
      pattern=dict(name="dense"),
      class_token=True,
      first_norm=True,
      epsilon=1e-5,
      depth=count(shapes, "encoder.transformer.{}."),
      mlp_dim=_hidden(shapes, "encoder"),
    ),
    width=width,
    num_heads=heads_of(width, num_heads, HEADS),
    reconstruction=dict(
      dim=axes_of(shapes, "encoder.conv_out.weight", 4)[0],
      quantizer=quantizer,
      decoder=decoder,
      norm=False,
      legacy_reshape=legacy,
    ),
    normalization="unit",
  )
  entries = [*encoder_entries(cells, side), *decoder_entries(decoder)]
  notes, fresh = [SAME, _IMAGES], {}
  if legacy:
    notes.append(_LEGACY)
  if quantizer["name"] == "vq":
    entries.append(Entry(CODES, "params/reconstruction/quantizer/codebook"))
    usage = "batch_stats/reconstruction/quantizer/usage/0"
    fresh[usage] = "how often codes occur is counted in training"
  else:
    notes.append(_GAUSSIAN)
  return Plan(
    model=model,
    context=clip_context(frames=1, size=cells * side),
    table=NameTable(entries, fresh=fresh),
    notes=tuple(notes),
  )


def _cells(shapes, part):
  """Rows = columns of the patches that a table of positions is for."""
  name = f"{part}.positional_embedding"
  return side_of(axes_of(shapes, name, 2)[0] - 1, name)


def _quantizer(shapes, cosine):
  """The spec of what stands between encoder and decoder."""
  if CODES not in shapes:
    return dict(name="kl")
  size, _ = axes_of(shapes, CODES, 2)
  return dict(name="vq", size=size, cosine=cosine)


def _hidden(shapes, part):
  return axes_of(shapes, f"{part}.transformer.0.mlp.c_fc.weight", 2)[0]


def _decoder(shapes, told, size, legacy):
  """The spec of the decoder."""
  head = f"decoder.ffn.{2 if legacy else 0}.weight"
  outputs, *_ = axes_of(shapes, head, 4)
  width = axes_of(shapes, "decoder.decoder_embed.weight", 2)[0]
  if legacy:
    codes = _codes(shapes, outputs)
    side = 2 ** (len(codes["multipliers"]) - 1)
    more = dict(codes=codes)
  else:
    side, more = side_of(outputs // 3, head), dict(smooth=True)
  cells = _cells(shapes, "decoder")
  if cells * side != size:
    raise ValueError(
      f"the encoder reads {size} x {size} pixels, but the decoder makes "
      f"{cells} x {cells} patches of {side} x {side}"
    )
  return dict(
    name="pixel",
    patch=(1, side, side),
    inner_width=width,
    depth=count(shapes, "decoder.transformer.{}."),
    num_heads=heads_of(width, told, HEADS, key="decoder_heads"),
    mlp_ratio=_hidden(shapes, "decoder") // width,
    class_token=True,
    epsilon=1e-5,
    **more,
  )


def _codes(shapes, outputs):
  """The options of what makes pixels by way of `outputs` codes."""
  if PIXEL_CODES not in shapes:
    raise ValueError(
      f"the decoder gives logits of {outputs} codes of MaskGIT's VQGAN, but "
      f"the file has neither {PIXEL_CODES} nor {PIXELS}: put the quantizer and "
      "the decoder of that model into it, with 'pixel_' in front of their names"
    )
  num_codes, code_dim = axes_of(shapes, PIXEL_CODES, 2)
  width = axes_of(shapes, f"{PIXELS}.conv_out.weight", 4)[1]
  kernels = [
    axes_of(shapes, f"{PIXELS}.up.{level}.block.0.conv1.weight", 4)
    for level in range(count(shapes, f"{PIXELS}.up.{{}}."))
  ]
  return dict(
    num_codes=num_codes,
    code_dim=code_dim,
    width=width,
    multipliers=tuple(kernel[0] // width for kernel in kernels),
    depth=count(shapes, f"{PIXELS}.up.0.block.{{}}."),
  )


TITOK = Kind(
  summary="TiTok or One-D-Piece: images to 1-D tokens and back.",
  marker=r"^encoder\.latent_token_positional_embedding$",
  plan=plan,
)
