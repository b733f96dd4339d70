"""TrajTok's own code: the segmenter alone, and TrajViT2, which reads with it.

Source: arXiv:2602.22779 and the code that its authors released.
"""

import jax
import jax.numpy as jnp

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
from trajvit.interop.kinds.trajvit import rotary_tables
from trajvit.interop.layouts import (
  CONV,
  CONV_TRANSPOSE,
  POINTWISE,
  leading,
  patches,
)
from trajvit.interop.names import Copy, Entry, NameTable, Unused
from trajvit.types import Clip

# Of both perceivers, where no table of rotary phases tells.
HEADS = 8
_RASTER = (
  "Positions are those of the weights: an index in raster order, in which "
  "neighbours of a column or a frame are far apart."
)
_COMPAT = (
  "All slots have a token, those without a cell too, and the encoder reads it.",
  "The last two cells of a clip are read by every slot.",
)
_CORRECTED = (
  "Corrected: slots without a cell have no token, and a slot reads its own "
  "cells alone. The weights were trained otherwise, so that features differ "
  "from those that were published; --compat gives these.",
)


def plan_segmenter(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  frames: int = 8,
  size: int = 224,
) -> Plan:
  """Returns what a state dict of the segmenter is to become.

  Names are those of a whole training checkpoint, whose segmenter is below
  `vision_encoder.`, or those of the segmenter alone.

  Args:
    shapes: by name.
    compat: changes nothing: at inference the released code has no oddity.
    num_heads: K of its perceiver; None = as the table of rotary phases has it,
      else 8.
    frames: T of the clips to be read.
    size: H = W of their frames.

  Raises:
    ValueError: an array that tells of sizes is missing.
  """
  del compat
  at = _prefix(shapes, "patch_encoder.")
  spec = _segmenter_spec(shapes, at, num_heads)
  table = _segmenter_names(shapes, at, "segmenter")
  idle = "of a text tower and heads that the segmenter does not have"
  whole = ("text_encoder.*", "vision_proj.*", "text_proj.*", "itm_head.*")
  table.unused.extend(Unused(name, idle) for name in (*whole, "temp"))
  return Plan(
    model=dict(name="segmenter", normalization="imagenet", **spec),
    context=clip_context(frames=frames, size=size, max_tracks=128),
    table=table,
    notes=_notes(spec),
  )


def plan_trajvit2(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  segment_heads: int | None = None,
  text_heads: int | None = None,
  level: int | None = None,
  frames: int = 8,
  size: int = 224,
  text_length: int = 77,
  vocabulary_file: str | None = None,
) -> Plan:
  """Returns what a state dict of TrajViT2 is to become.

  Names are those of a whole training checkpoint, whose video tower is below
  `vision_encoder.`, or those of that tower alone.

  Args:
    shapes: by name.
    compat: whether to do as the released code.
    num_heads: K of the encoder; None = that of the ViT of its depth.
    segment_heads: K of both perceivers; None = as the table of rotary phases
      has it, else 8.
    text_heads: K of the text tower; None = heads of 64 channels.
    level: a slot has 2^level tokens; None is the most that there are.
    frames: T of the clips to be read.
    size: H = W of their frames.
    text_length: L.
    vocabulary_file: of the word pieces, or None.

  Raises:
    ValueError: an array that tells of sizes is missing, or sizes contradict
      each other.
  """
  at = _prefix(shapes, "traj_tokenizer.")
  own, vit = f"{at}traj_tokenizer", f"{at}vision_encoder"
  updater = f"{own}.traj_feature_updater"
  spec = _segmenter_spec(shapes, f"{own}.segmenter.", segment_heads)
  _, latents, _ = axes_of(shapes, f"{own}.latents", 3)
  width = axes_of(shapes, f"{vit}.cls_token", 3)[-1]
  depth = count(shapes, f"{vit}.vit.encoder.layer.{{}}.")
  hidden = f"{vit}.vit.encoder.layer.0.intermediate.dense.weight"
  stem, head_dims = spec.pop("stem"), spec.pop("head_dims")
  if tuple(head_dims) != (128, 64) or spec.pop("high_resolution"):
    raise ValueError(
      "expected a segmenter without logits of pixels, whose heads are 128 and "
      f"64 wide, got {head_dims}"
    )
  model = dict(
    name="video_encoder",
    tokenizer=dict(
      name="trajtok",
      stem=stem,
      segment_width=spec.pop("width"),
      pool=dict(
        name="cells",
        depth=count(shapes, f"{updater}.layers.{{}}."),
        add_mean=False,
        max_level=latents.bit_length() - 1,
        level=level,
        leak_last_two=compat,
        keep_empty=compat,
      ),
      **spec,
    ),
    encoder=dict(
      name="vit",
      width=width,
      depth=depth,
      num_heads=known_heads(width, told=num_heads, depth=depth),
      mlp_dim=axes_of(shapes, hidden, 2)[0],
      epsilon=1e-12,
      final_epsilon=1e-5,
    ),
    normalization="imagenet",
  )
  table = _segmenter_names(shapes, f"{own}.segmenter.", "tokenizer/segmenter")
  table.entries.extend(
    [
      Entry(f"{own}.latents", "params/tokenizer/pool/latents"),
      *_perceiver(updater, "tokenizer/pool/perceiver"),
      *linear(f"{own}.output_projector", "tokenizer/pool/project"),
      Entry(f"{vit}.cls_token", "params/encoder/registers", leading(1)),
      *vit_blocks(f"{vit}.vit.encoder.layer", "encoder/stages/0"),
      *norm(f"{at}norm", "encoder/norm"),
    ]
  )
  table.unused.extend(
    [
      *rotary_tables(updater),
      Unused(f"{vit}.vit.embeddings.*", "embeddings that are not run"),
      Unused(f"{vit}.vit.pooler.*", "a pooler that is not run"),
      Unused(f"{vit}.vit.layernorm.*", "a norm that is not run"),
    ]
  )
  found = Plan(
    model=model,
    context=clip_context(frames=frames, size=size, max_tracks=128),
    table=table,
    notes=(*_notes(spec), *(_COMPAT if compat else _CORRECTED)),
  )
  return with_text(
    found,
    shapes,
    text_heads=text_heads,
    text_length=text_length,
    vocabulary_file=vocabulary_file,
  )


def segment_reference(model, compat: bool, video, mask, graph) -> jax.Array:
  """Returns the logits of cells for slots, [B, T h w, M].

  Args:
    model: of kind "trajtok-segmenter".
    compat: unused.
    video: [B, T, 3, H, W] float, normalised by ImageNet's statistics.
    mask, graph: unused: the segmenter finds them.
  """
  del compat, mask, graph
  frames = jnp.moveaxis(jnp.asarray(video, jnp.float32), 2, -1)
  logits = jax.jit(lambda x: model.segmenter(x).logits)(frames)
  return logits.reshape(logits.shape[0], -1, logits.shape[-1])


def trajvit2_reference(model, compat: bool, video, mask, graph) -> jax.Array:
  """Returns [B, 1 + N, D], the class token and those of all slots.

  Args:
    model: of kind "trajvit2".
    compat: otherwise slots without a cell are zeros.
    video: [B, T, 3, H, W] float, normalised by ImageNet's statistics.
    mask, graph: unused: the segmenter finds them.
  """
  del compat, mask, graph

  def run(frames):
    tokens, _ = model.tokenizer(Clip(frames))
    return model.encoder(tokens)[0].features

  return jax.jit(run)(jnp.moveaxis(jnp.asarray(video, jnp.float32), 2, -1))


SEGMENTER = Kind(
  summary="TrajTok's segmenter: trajectories of a clip from its pixels.",
  marker=r"^(vision_encoder\.)?patch_encoder\.",
  plan=plan_segmenter,
  reference=segment_reference,
)
TRAJVIT2 = Kind(
  summary="TrajViT2: an encoder on TrajTok's tokens, with or without text.",
  marker=r"^(vision_encoder\.)?traj_tokenizer\.segmenter\.",
  plan=plan_trajvit2,
  reference=trajvit2_reference,
)


def _prefix(shapes, first):
  """What names of the video tower begin with, where they begin with `first`."""
  whole = any(name.startswith(f"vision_encoder.{first}") for name in shapes)
  return "vision_encoder." if whole else ""


def _notes(spec):
  return (_RASTER,) if spec["position"] == "rotary_1d" else ()


def _segmenter_spec(shapes, at, num_heads):
  """Arguments of a segmenter, its stem's spec among them."""
  backbone = f"{at}patch_encoder.backbone"
  perceiver = f"{at}trajectory_perceiver"
  stages = count(shapes, f"{backbone}.stages.{{}}.")
  depths = [
    count(shapes, f"{backbone}.stages.{stage}.{{}}.") for stage in range(stages)
  ]
  widths = [
    axes_of(shapes, f"{backbone}.stages.{stage}.0.gamma", 1)[0]
    for stage in range(stages)
  ]
  slots, width = axes_of(shapes, f"{perceiver}.latents", 2)
  rotary = shapes.get(f"{perceiver}.layers.0.0.rotary_emb.freqs")
  if rotary is None and num_heads is None:
    num_heads = HEADS
  sequence = f"{perceiver}.layers.0.0.norm_media.weight" in shapes
  head = f"{at}traj_seg_head_low_res"
  return dict(
    stem=dict(name="convnext", depths=depths, widths=widths),
    width=width,
    num_slots=slots,
    num_heads=known_heads(width, told=num_heads, rotary=rotary),
    depth=count(shapes, f"{perceiver}.layers.{{}}."),
    position="rotary_1d" if sequence else "rotary_3d",
    add_position=False,
    high_resolution=any(
      name.startswith(f"{at}patch_decoder_high_res.") for name in shapes
    ),
    head_dims=[axes_of(shapes, f"{head}.{i}.weight", 2)[0] for i in (0, 2)],
  )


def _segmenter_names(shapes, at, ours) -> NameTable:
  """The table of a segmenter, to be added to."""
  backbone = f"{at}patch_encoder.backbone"
  perceiver = f"{at}trajectory_perceiver"
  last = count(shapes, f"{backbone}.stages.{{}}.") - 1
  high = f"{at}patch_decoder_high_res.conv_up"
  fine = f"{ours}/high_cell_head"
  entries = [
    *_convnext(shapes, backbone, f"{ours}/stem/trunk"),
    Entry(
      f"{at}patch_encoder.proj.{{i}}.weight",
      f"params/{ours}/stem/pyramid/project/{{i}}/kernel",
      POINTWISE,
    ),
    Entry(
      f"{at}patch_encoder.proj.{{i}}.bias",
      f"params/{ours}/stem/pyramid/project/{{i}}/bias",
    ),
    *norm(f"{at}patch_encoder.ln", f"{ours}/stem/pyramid/norm"),
    Entry(f"{perceiver}.latents", f"params/{ours}/latents"),
    *_perceiver(perceiver, f"{ours}/perceiver"),
    *_head(f"{at}traj_seg_head_low_res", f"{ours}/slot_head"),
    *_head(f"{at}patch_decoder_low_res", f"{ours}/cell_head"),
    *_head(f"{at}traj_seg_head_high_res", f"{ours}/high_slot_head"),
    *_doubling(f"{high}.0", f"{fine}/double/0"),
    *norm(f"{high}.1", f"{fine}/norm"),
    *_doubling(f"{high}.3", f"{fine}/double/1"),
    Entry(f"{high}.5.weight", f"params/{fine}/out/kernel", POINTWISE),
    Entry(f"{high}.5.bias", f"params/{fine}/out/bias"),
    Entry(f"{at}log_scale", f"params/{ours}/log_scale", leading(1)),
  ]
  copies = [Copy(f"{backbone}.norms.{last}.", f"{backbone}.norm.")]
  return NameTable(entries, rotary_tables(perceiver), copies, fresh={})


def _convnext(shapes, theirs, ours):
  """Entries of DINOv3's ConvNeXt and `layers.stems.trunk`."""
  entries = []
  for stage in range(count(shapes, f"{theirs}.stages.{{}}.")):
    down = f"{theirs}.downsample_layers.{stage}"
    # The first has its patches in front of its norm, the others behind.
    conv, normed = (0, 1) if stage == 0 else (1, 0)
    _, inputs, rows, columns = axes_of(shapes, f"{down}.{conv}.weight", 4)
    here = f"{ours}/patches/{stage}/linear"
    entries += [
      Entry(
        f"{down}.{conv}.weight",
        f"params/{here}/kernel",
        patches(rows, columns, channels=inputs),
      ),
      Entry(f"{down}.{conv}.bias", f"params/{here}/bias"),
      *norm(f"{down}.{normed}", f"{ours}/patch_norms/{stage}"),
    ]
  block, layers = f"{theirs}.stages.{{s}}.{{j}}", f"{ours}/stages/{{s}}/layers"
  return [
    *entries,
    Entry(f"{block}.dwconv.weight", f"params/{layers}/conv/kernel", CONV),
    Entry(f"{block}.dwconv.bias", f"params/{layers}/conv/bias"),
    *norm(f"{block}.norm", f"{layers}/norm"),
    *linear(f"{block}.pwconv1", f"{layers}/mlp/inner"),
    *linear(f"{block}.pwconv2", f"{layers}/mlp/outer"),
    Entry(f"{block}.gamma", f"params/{layers}/gamma"),
    *norm(f"{theirs}.norm", f"{ours}/norm"),
  ]


def _perceiver(theirs, ours):
  """Entries of a `layers.perceiver.Perceiver`, of both variants."""
  read, mlp = f"{theirs}.layers.{{i}}.0", f"{theirs}.layers.{{i}}.1"
  here = f"{ours}/layers/{{i}}"
  return [
    *norm(f"{read}.norm_media", f"{here}/norm_cells"),
    *norm(f"{read}.norm_latents", f"{here}/norm_queries"),
    *linear(f"{read}.to_q", f"{here}/query", bias=False),
    *linear(f"{read}.to_kv", f"{here}/key_value", bias=False),
    *linear(f"{read}.to_out", f"{here}/out", bias=False),
    *norm(f"{mlp}.norm", f"{here}/norm_mlp"),
    *linear(f"{mlp}.gate", f"{here}/mlp/gate"),
    *linear(f"{mlp}.up", f"{here}/mlp/up"),
    *linear(f"{mlp}.down", f"{here}/mlp/down"),
    *norm(f"{theirs}.norm_lat", f"{ours}/norm_latents"),
    *norm(f"{theirs}.norm_ctx", f"{ours}/norm_context"),
  ]


def _head(theirs, ours):
  """Entries of linear, ReLU, linear."""
  return [
    *linear(f"{theirs}.0", f"{ours}/inner"),
    *linear(f"{theirs}.2", f"{ours}/outer"),
  ]


def _doubling(theirs, ours):
  """Entries of a transposed convolution."""
  return [
    Entry(f"{theirs}.weight", f"params/{ours}/kernel", CONV_TRANSPOSE),
    Entry(f"{theirs}.bias", f"params/{ours}/bias"),
  ]
