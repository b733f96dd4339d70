"""TiTok and One-D-Piece, from their authors' files."""

import numpy as np

from trajvit.interop.kinds.blocks import convolution, linear, multihead, norm
from trajvit.interop.kinds.kind import Kind, Plan, clip_context, count
from trajvit.interop.kinds.released import SAME, axes_of, heads_of, side_of
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.layouts import Layout
from trajvit.interop.names import Entry, NameTable

HEADS = {512: 8, 768: 12, 1024: 16}
CODES = "quantize.embedding.weight"
PIXEL_CODES, PIXELS = "pixel_quantize.embedding.weight", "pixel_decoder"
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
  size = side * _cells(shapes, "encoder")
  dim = axes_of(shapes, "encoder.conv_out.weight", 4)[0]
  decoder = _decoder(shapes, decoder_heads, size, legacy)
  gaussian = CODES not in shapes
  quantizer = dict(name="kl")
  if not gaussian:
    codes, _ = axes_of(shapes, CODES, 2)
    cosine = legacy if cosine is None else cosine
    quantizer = dict(name="vq", size=codes, cosine=cosine)
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
      dim=dim,
      quantizer=quantizer,
      decoder=decoder,
      norm=False,
      legacy_reshape=legacy,
    ),
    normalization="unit",
  )
  found = "reconstruction/decoder"
  entries = [
    *_encoder_entries(size // side, side),
    *convolution("encoder.conv_out", "reconstruction/down", pointwise=True),
    *_decoder_entries(found),
  ]
  if legacy:
    levels = len(decoder["codes"]["multipliers"])
    entries += _code_entries(
      f"{found}/codes", levels, decoder["codes"]["depth"]
    )
  else:
    entries += convolution("decoder.ffn.0", f"{found}/out", pointwise=True)
    entries += convolution("decoder.conv_out", f"{found}/smooth")
  fresh = {}
  if not gaussian:
    entries.append(Entry(CODES, "params/reconstruction/quantizer/codebook"))
    usage = "batch_stats/reconstruction/quantizer/usage/0"
    fresh = {usage: "how often codes occur is counted in training"}
  notes = (
    (SAME,)
    + (_LEGACY,) * legacy
    + (_GAUSSIAN,) * gaussian
    + ("It reads one image at a time, a clip of one frame.",)
  )
  return Plan(
    model=model,
    context=clip_context(frames=1, size=size),
    table=NameTable(entries, fresh=fresh),
    notes=notes,
  )


def _cells(shapes, part):
  """Rows = columns of the patches that a table of positions is for."""
  name = f"{part}.positional_embedding"
  return side_of(axes_of(shapes, name, 2)[0] - 1, name)


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


def _encoder_entries(cells, side):
  """From pixels to registers."""
  patches = "tokenizer/patches"
  return [
    *patch_entries("encoder.patch_embed", f"{patches}/embed", side, side),
    Entry(
      ("encoder.class_embedding", "encoder.positional_embedding"),
      ("params/tokenizer/class_token", f"params/{patches}/positions/0"),
      _with_places((1, 1), (1, cells, cells), masks=0),
    ),
    Entry(
      ("latent_tokens", "encoder.latent_token_positional_embedding"),
      "params/tokenizer/registers",
      _SUM,
    ),
    *norm("encoder.ln_pre", "tokenizer/norm_first"),
    *_blocks("encoder.transformer", "tokenizer/blocks"),
    *norm("encoder.ln_post", "tokenizer/norm"),
  ]


def _decoder_entries(ours):
  """From codes to features of patches."""
  theirs = ("class_embedding", "mask_token", "positional_embedding")
  return [
    *linear("decoder.decoder_embed", f"{ours}/conditioning/project"),
    Entry(
      "decoder.latent_token_positional_embedding",
      f"params/{ours}/conditioning/positions",
    ),
    Entry(
      tuple(f"decoder.{name}" for name in theirs),
      (f"params/{ours}/class_token", f"params/{ours}/queries"),
      _with_places((1,), (-1,), masks=1),
    ),
    *norm("decoder.ln_pre", f"{ours}/norm_in"),
    *_blocks("decoder.transformer", f"{ours}/blocks"),
    *norm("decoder.ln_post", f"{ours}/norm"),
  ]


def _blocks(theirs, ours):
  block, layers = f"{theirs}.{{i}}", f"{ours}/layers"
  return [
    *norm(f"{block}.ln_1", f"{layers}/norm_attention"),
    *multihead(f"{block}.attn", f"{layers}/attention"),
    *norm(f"{block}.ln_2", f"{layers}/norm_mlp"),
    *linear(f"{block}.mlp.c_fc", f"{layers}/mlp/inner"),
    *linear(f"{block}.mlp.c_proj", f"{layers}/mlp/outer"),
  ]


def _code_entries(ours, levels, depth):
  """From features of patches to pixels, see `decoders.vqgan`."""
  decoder = f"{ours}/decoder"
  entries = [
    *convolution("decoder.ffn.0", f"{ours}/inner", pointwise=True),
    *convolution("decoder.ffn.2", f"{ours}/logits", pointwise=True),
    Entry(PIXEL_CODES, f"params/{ours}/codebook"),
    *convolution(f"{PIXELS}.conv_in", f"{decoder}/conv_in"),
    *norm(f"{PIXELS}.norm_out", f"{decoder}/norm"),
    *convolution(f"{PIXELS}.conv_out", f"{decoder}/conv_out"),
    *_residual(f"{PIXELS}.mid.{{j}}", f"{decoder}/middle/{{j}}"),
  ]
  for i in range(levels):
    level = f"{PIXELS}.up.{levels - 1 - i}"  # theirs count from the finest
    entries += _residual(f"{level}.block.{{j}}", f"{decoder}/levels/{i}/{{j}}")
    if i < levels - 1:
      entries += convolution(
        f"{level}.upsample_conv", f"{decoder}/doublings/{i}"
      )
  return entries


def _residual(theirs, ours):
  """Entries of a `layers.group_residual.GroupResidual` without biases."""
  return [
    *norm(f"{theirs}.norm1", f"{ours}/norm_first"),
    *convolution(f"{theirs}.conv1", f"{ours}/conv_first", bias=False),
    *norm(f"{theirs}.norm2", f"{ours}/norm_second"),
    *convolution(f"{theirs}.conv2", f"{ours}/conv_second", bias=False),
    *convolution(f"{theirs}.nin_shortcut", f"{ours}/shortcut", bias=False),
  ]


def _with_places(front, grid, *, masks):
  """A class token and rows, to which their positions have been added.

  Theirs are the token, as many mask tokens for all rows, and a table whose
  first row is the token's.

  Args:
    front: leading axes of our token.
    grid: leading axes of our rows.
    masks: 0 or 1.
  """

  def forward(xs):
    token, *added, table = (x.astype(np.float32) for x in xs)
    rows = sum((x[0] for x in added), table[1:])
    token = token + table[:1]
    return [
      x.reshape(*to, x.shape[-1]) for x, to in ((token, front), (rows, grid))
    ]

  def back(xs):
    token, rows = (x.reshape(-1, x.shape[-1]) for x in xs)
    table = np.concatenate([np.zeros_like(token), rows])
    return [token, *[np.zeros_like(token)[None]] * masks, table]

  return Layout("with their places", forward, back, exact=False)


_SUM = Layout(
  "their sum",
  lambda xs: [sum(x.astype(np.float32) for x in xs)[None]],
  lambda xs: [xs[0][0], np.zeros_like(xs[0][0])],
  exact=False,
)
TITOK = Kind(
  summary="TiTok or One-D-Piece: images to 1-D tokens and back.",
  marker=r"^encoder\.latent_token_positional_embedding$",
  plan=plan,
)
