"""TrajViT's own code: trajectories from given masks, ResNet, resamplers, ViT.

Source: arXiv:2505.23617 and the code that its authors released.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.interop.kinds.blocks import linear, norm, vit_blocks
from trajvit.interop.kinds.kind import (
  Kind,
  Plan,
  axes_of,
  clip_context,
  count,
  known_heads,
)
from trajvit.interop.kinds.towers_text import with_text
from trajvit.interop.layouts import CONV, leading
from trajvit.interop.names import Entry, NameTable, Unused
from trajvit.ops.pooling import pool_by_track
from trajvit.ops.tracks import track_centers
from trajvit.types import Tokens

# Frames that rows without any trajectory read in the released code.
OPENED = 10
_COMPAT = (
  "The encoder runs twice, with the same weights, and no norm ends it.",
  "Positions of both coordinates share one ramp of frequencies.",
)
_CORRECTED = (
  "Corrected: the encoder runs once and ends in the norm that its weights have "
  "and the released code leaves out; positions resolve both coordinates. The "
  "weights were trained otherwise: fine-tune them, or convert with --compat.",
)


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  text_heads: int | None = None,
  frames: int = 16,
  size: int = 224,
  max_tracks: int = 128,
  text_length: int = 77,
  vocabulary_file: str | None = None,
) -> Plan:
  """Returns what a state dict of TrajViT is to become.

  Names are those of a whole training checkpoint, whose video tower is below
  `vision_encoder.`, or those of that tower alone.

  Args:
    shapes: by name.
    compat: whether to do as the released code.
    num_heads: K of the encoder and both resamplers; None = as the tables of
      rotary phases have it.
    text_heads: K of the text tower; None = heads of 64 channels.
    frames: T of the clips to be read.
    size: H = W of their frames.
    max_tracks: M.
    text_length: L.
    vocabulary_file: of the word pieces, or None.

  Raises:
    ValueError: a variant that is not known here, such as a linear map in place
      of a resampler, or sizes that contradict each other.
  """
  at = "vision_encoder." if _is_whole(shapes) else ""
  stem, mapper = f"{at}appearance_tokenizer", f"{at}appearance_token_mapper"
  position, vit = f"{at}pos_encoder.motion_token_mapper", f"{at}vision_encoder"
  if f"{mapper}.latents" not in shapes or f"{position}.latents" not in shapes:
    raise ValueError(
      "expected resamplers for appearance and position, "
      f"{mapper}.latents and {position}.latents"
    )
  latents, width = axes_of(shapes, f"{mapper}.latents", 2)
  if latents != 1:
    raise ValueError(f"expected one latent a resampler, got {latents}")
  depth = count(shapes, f"{vit}.vit.encoder.layer.{{}}.")
  heads = known_heads(
    width,
    told=num_heads,
    rotary=shapes.get(f"{mapper}.layers.0.0.rotary_emb.freqs"),
    depth=depth,
  )
  bottleneck = f"{stem}.resnet.encoder.stages.0.layers.0.layer.2.convolution"
  deep = f"{bottleneck}.weight" in shapes
  hidden = f"{vit}.vit.encoder.layer.0.intermediate.dense.weight"
  model = dict(
    name="video_encoder",
    tokenizer=dict(
      name="trajectory",
      stem="resnet50" if deep else "resnet18",
      appearance_depth=count(shapes, f"{mapper}.layers.{{}}."),
      position_depth=count(shapes, f"{position}.layers.{{}}."),
      position_bank="shared" if compat else "separate",
    ),
    encoder=dict(
      name="vit",
      width=width,
      depth=depth,
      num_heads=heads,
      mlp_dim=axes_of(shapes, hidden, 2)[0],
      epsilon=1e-12,
      passes=2 if compat else 1,
      final_norm=not compat,
    ),
    normalization="imagenet",
  )
  entries = [
    *_resnet(f"{stem}.resnet", "tokenizer/stem"),
    *linear(f"{stem}.linear_layers.{{i}}", "tokenizer/project/{i}"),
    *norm(f"{stem}.layer_norm", "tokenizer/norm"),
    *resampler(mapper, "tokenizer/appearance"),
    *resampler(position, "tokenizer/position"),
    Entry(f"{vit}.cls_token", "params/encoder/registers", leading(1)),
    *vit_blocks(f"{vit}.vit.encoder.layer", "encoder/stages/0"),
  ]
  unused = [
    Unused("*.num_batches_tracked", "a counter of the batch norms"),
    *rotary_tables(mapper, position),
    Unused(f"{vit}.vit.embeddings.*", "embeddings that are not run"),
    Unused(f"{vit}.vit.pooler.*", "a pooler that is not run"),
  ]
  if compat:
    unused.append(Unused(f"{vit}.vit.layernorm.*", "a norm that is not run"))
  else:
    entries += norm(f"{vit}.vit.layernorm", "encoder/norm")
  found = Plan(
    model=model,
    context=clip_context(frames=frames, size=size, max_tracks=max_tracks),
    table=NameTable(entries, unused),
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
  """Returns [B, 1 + M, D] as the released code does, the class token first.

  With `compat` all that it does besides: a row of `graph` is present wherever
  it has an id, whether that has a pixel or not; a row without any is read as
  present for ten frames; and all rows, padding too, meet in the encoder. The
  model itself has neither ids nor padding, and gives the same features to a
  clip whose rows have pixels wherever they have an id.

  Args:
    model: of this kind.
    compat: otherwise absent is what has no pixel, and padding is masked zeros.
    video: [B, T, 3, H, W] float, normalised by ImageNet's statistics.
    mask: [B, T, h, w] integers, ids that hold for one frame, 0 = none.
    graph: [B, M, T] integers, the id of a row in every frame, 0 = absent.

  Raises:
    ValueError: shapes that do not fit together, or an id of `graph` that no
      mask can have.
  """
  if mask is None or graph is None:
    raise ValueError("expected video, mask and graph, got none of one")
  video, mask, graph = (np.asarray(x) for x in (video, mask, graph))
  batch, frames = video.shape[:2]
  shapes = (video.shape[2], mask.shape[:2], graph.shape[::2])
  if shapes != (3, (batch, frames), (batch, frames)) or mask.ndim != 4:
    raise ValueError(
      "expected video [B, T, 3, H, W], mask [B, T, h, w] and graph [B, M, T], "
      f"got {video.shape}, {mask.shape} and {graph.shape}"
    )
  ids = int(max(mask.max(), graph.max())) + 1
  tokenizer, grid = model.tokenizer, mask.shape[2:]

  def run(video, mask, graph):
    features, _ = tokenizer.cells(jnp.moveaxis(video, 2, -1), grid)
    labels = jnp.where(mask > 0, mask, -1)
    pooled, area = pool_by_track(features, labels, ids)
    where = track_centers(labels, ids)
    at = jnp.swapaxes(graph, 1, 2)  # [B, T, M]

    def of_rows(x):
      return jnp.take_along_axis(x, at[..., None], axis=2)

    present = at > 0 if compat else of_rows(area[..., None])[..., 0] > 0
    real = present.any(1)  # [B, M]
    if compat:
      early = jnp.arange(frames)[:, None] < OPENED
      present = present | (early & ~real[:, None])
    features = tokenizer.embed(of_rows(pooled), of_rows(where), present)
    if compat:
      real = jnp.ones_like(real)
    tokens = Tokens(
      features=jnp.where(real[..., None], features, 0),
      mask=real,
      positions=jnp.zeros((*real.shape, 3)),
      size=jnp.ones(real.shape),
    )
    return model.encoder(tokens)[0].features

  return jax.jit(run)(
    video.astype(np.float32), mask.astype(np.int32), graph.astype(np.int32)
  )


TRAJVIT = Kind(
  summary="TrajViT: trajectories from given masks, with or without its text.",
  marker=r"(^|\.)appearance_tokenizer\.",
  plan=plan,
  reference=reference,
)


def resampler(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of a `layers.resampler.Resampler`."""
  layer, here = f"{theirs}.layers.{{i}}.0", f"{ours}/layers/{{i}}"
  return [
    Entry(f"{theirs}.latents", f"params/{ours}/latents"),
    *norm(f"{layer}.norm_media", f"{here}/norm_sequence"),
    *norm(f"{layer}.norm_latents", f"{here}/norm_latents"),
    *linear(f"{layer}.to_q", f"{here}/query", bias=False),
    *linear(f"{layer}.to_kv", f"{here}/key_value", bias=False),
    *linear(f"{layer}.to_out", f"{here}/out", bias=False),
    *norm(f"{theirs}.norm", f"{ours}/norm"),
  ]


def rotary_tables(*modules: str) -> list[Unused]:
  """Returns what there is of the rotary phases of some modules."""
  return [
    Unused(
      f"{module}.layers.*.rotary_emb.freqs",
      "the powers of 10000 that rotary phases have",
      lambda x: 10000.0 ** (-np.arange(len(x)) / len(x)),
    )
    for module in modules
  ]


def _resnet(theirs, ours):
  """Entries of Hugging Face's ResNet."""
  layer = f"{theirs}.encoder.stages.{{s}}.layers.{{l}}"
  here = f"{ours}/stages/{{s}}/{{l}}"
  return [
    *_conv_norm(f"{theirs}.embedder.embedder", f"{ours}/embed"),
    *_conv_norm(f"{layer}.layer.{{k}}", f"{here}/layers/{{k}}"),
    *_conv_norm(f"{layer}.shortcut", f"{here}/shortcut"),
  ]


def _conv_norm(theirs, ours):
  norm_there, norm_here = f"{theirs}.normalization", f"{ours}/norm"
  return [
    Entry(f"{theirs}.convolution.weight", f"params/{ours}/conv/kernel", CONV),
    *norm(norm_there, norm_here),
    Entry(f"{norm_there}.running_mean", f"batch_stats/{norm_here}/mean"),
    Entry(f"{norm_there}.running_var", f"batch_stats/{norm_here}/variance"),
  ]


def _is_whole(shapes):
  return any(
    name.startswith("vision_encoder.appearance_tokenizer.") for name in shapes
  )
