"""ViT3D, the dense baseline in TrajViT's own code."""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.interop.kinds.blocks import norm, vit_blocks
from trajvit.interop.kinds.kind import (
  Kind,
  Plan,
  axes_of,
  clip_context,
  count,
  known_heads,
)
from trajvit.interop.kinds.towers_text import with_text
from trajvit.interop.layouts import Layout, leading, patches
from trajvit.interop.names import Copy, Entry, NameTable, Unused
from trajvit.types import Clip

_COMPAT = (
  "Patch i has the position of patch i - 1, and the first one that of the "
  "class token, which has none; no norm ends the encoder.",
)
_CORRECTED = (
  "Corrected: every patch has its own position, and the class token its own; "
  "the encoder ends in the norm that its weights have. The weights were "
  "trained otherwise: fine-tune them, or convert with --compat.",
)


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  text_heads: int | None = None,
  frames: int = 16,
  size: int = 224,
  text_length: int = 77,
  vocabulary_file: str | None = None,
) -> Plan:
  """Returns what a state dict of ViT3D is to become.

  Names are those of a whole training checkpoint, whose video tower is below
  `vision_encoder.`, or those of that tower alone.

  Args:
    shapes: by name.
    compat: whether to do as the released code.
    num_heads: K; None = that of the ViT of its depth.
    text_heads: K of the text tower; None = heads of 64 channels.
    frames: T of the clips to be read, which the table of positions is for.
    size: H = W of their frames, likewise.
    text_length: L.
    vocabulary_file: of the word pieces, or None.

  Raises:
    ValueError: an array that tells of sizes is missing, or the table of
      positions is for other clips.
  """
  whole = "vision_encoder.patch_embed_3d.weight" in shapes
  at = "vision_encoder." if whole else ""
  width, channels, *patch = axes_of(shapes, f"{at}patch_embed_3d.weight", 5)
  grid = [n // p for n, p in zip((frames, size, size), patch, strict=True)]
  rows = axes_of(shapes, f"{at}positional_embeddings_3d", 3)[1]
  if rows != 1 + int(np.prod(grid)):
    raise ValueError(
      f"the table of positions has {rows} rows, but clips of {frames} frames "
      f"of {size} x {size} pixels need 1 + {' x '.join(map(str, grid))}: set "
      "config.frames and config.size"
    )
  depth = count(shapes, f"{at}encoder.layer.{{}}.")
  normed = any(name.startswith(f"{at}vit2d.layernorm.") for name in shapes)
  ends = normed and not compat
  model = dict(
    name="video_encoder",
    tokenizer=dict(name="tubelet", patch=patch, position="table"),
    encoder=dict(
      name="vit",
      width=width,
      depth=depth,
      num_heads=known_heads(width, told=num_heads, depth=depth),
      mlp_dim=axes_of(
        shapes, f"{at}encoder.layer.0.intermediate.dense.weight", 2
      )[0],
      epsilon=1e-12,
      final_norm=ends,
    ),
    normalization="imagenet",
  )
  table, token = "params/tokenizer/positions/0", "params/encoder/registers"
  theirs = f"{at}cls_token", f"{at}positional_embeddings_3d"
  entries = [
    Entry(
      f"{at}patch_embed_3d.weight",
      "params/tokenizer/embed/kernel",
      patches(*patch, channels=channels),
    ),
    Entry(f"{at}patch_embed_3d.bias", "params/tokenizer/embed/bias"),
    *vit_blocks(f"{at}encoder.layer", "encoder/stages/0"),
  ]
  if compat:
    entries.append(Entry(theirs[0], token, leading(1)))
    entries.append(Entry(theirs[1], table, _first_rows(grid)))
  else:
    entries.append(Entry(theirs, (token, table), _own_rows(grid)))
  if ends:
    entries += norm(f"{at}vit2d.layernorm", "encoder/norm")
    unused = ("vit2d.embeddings.*", "vit2d.pooler.*")
  else:
    unused = ("vit2d.*",)
  found = Plan(
    model=model,
    context=clip_context(frames=frames, size=size),
    table=NameTable(
      entries,
      [Unused(f"{at}{x}", "a part of a ViT that is not run") for x in unused],
      [Copy(f"{at}vit2d.encoder.", f"{at}encoder.")],
    ),
    notes=_COMPAT if compat else _CORRECTED,
  )
  return with_text(
    found,
    shapes,
    text_heads=text_heads,
    text_length=text_length,
    vocabulary_file=vocabulary_file,
  )


def reference(model, compat: bool, video, mask, graph) -> jax.Array:
  """Returns [B, 1 + N, D], the class token first.

  Args:
    model: of this kind.
    compat: unused: the weights have it.
    video: [B, T, 3, H, W] float, normalised by ImageNet's statistics.
    mask, graph: unused.
  """
  del compat, mask, graph

  def run(frames):
    tokens, _ = model.tokenizer(Clip(frames))
    return model.encoder(tokens)[0].features

  return jax.jit(run)(jnp.moveaxis(jnp.asarray(video, jnp.float32), 2, -1))


VIT3D = Kind(
  summary="ViT3D: space-time patches, the dense baseline of TrajViT.",
  marker=r"(^|\.)patch_embed_3d\.",
  plan=plan,
  reference=reference,
)


def _first_rows(grid):
  """The table without its last row, which no patch has."""

  def back(xs):
    flat = [x.reshape(-1, x.shape[-1]) for x in xs]
    return [np.pad(x, ((0, 1), (0, 0)))[None] for x in flat]

  return Layout(
    "all rows but the last",
    lambda xs: [x[0, :-1].reshape(*grid, x.shape[-1]) for x in xs],
    back,
    exact=False,
  )


def _own_rows(grid):
  """Class token and table, the first row of which is put into the token."""

  def forward(xs):
    token, table = xs
    rows = table[0, 1:].reshape(*grid, table.shape[-1])
    return [token[0] + table[0, :1], rows]

  def back(xs):
    token, rows = xs
    flat = rows.reshape(-1, rows.shape[-1])
    return [token[None], np.pad(flat, ((1, 0), (0, 0)))[None]]

  return Layout("each row its own patch's", forward, back, exact=False)
