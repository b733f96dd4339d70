"""Which array of TiTok is which of ours."""

import numpy as np

from trajvit.interop.kinds.blocks import convolution, linear, multihead, norm
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.layouts import Layout
from trajvit.interop.names import Entry

PIXEL_CODES, PIXELS = "pixel_quantize.embedding.weight", "pixel_decoder"


def encoder_entries(cells: int, side: int) -> list[Entry]:
  """Returns the entries from pixels to what the quantizer reads.

  Args:
    cells: rows = columns of patches.
    side: pixels on a side of a patch.
  """
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
    *convolution("encoder.conv_out", "reconstruction/down", pointwise=True),
  ]


def decoder_entries(spec: dict) -> list[Entry]:
  """Returns the entries from codes to pixels.

  Args:
    spec: of the decoder `pixel`.
  """
  ours = "reconstruction/decoder"
  theirs = ("class_embedding", "mask_token", "positional_embedding")
  if "codes" in spec:
    pixels = _code_entries(f"{ours}/codes", **spec["codes"])
  else:
    pixels = [
      *convolution("decoder.ffn.0", f"{ours}/out", pointwise=True),
      *convolution("decoder.conv_out", f"{ours}/smooth"),
    ]
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
    *pixels,
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


def _code_entries(ours, *, multipliers, **_):
  """From features of patches to pixels, see `decoders.vqgan`."""
  decoder, levels = f"{ours}/decoder", len(multipliers)
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


def _sum(xs):
  if xs[0].shape != xs[1].shape:
    raise ValueError("expected as many positions as tokens")
  return [(xs[0].astype(np.float32) + xs[1].astype(np.float32))[None]]


_SUM = Layout(
  "their sum",
  _sum,
  lambda xs: [xs[0][0], np.zeros_like(xs[0][0])],
  exact=False,
)
