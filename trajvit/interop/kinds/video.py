"""Encoders of VideoMAE and V-JEPA 2, from Hugging Face's files."""

from trajvit.interop.kinds.blocks import linear, norm
from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import (
  SAME,
  blocks,
  heads_of,
  prefix,
)
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.names import Entry, NameTable, Unused

VIDEOMAE_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16}
VJEPA2_HEADS = {1024: 16, 1280: 16, 1408: 22}
VJEPA2_PARTS = (
  "norm1",
  "attention.query",
  "attention.key",
  "attention.value",
  "attention.proj",
  "norm2",
  "mlp.fc1",
  "mlp.fc2",
)


def videomae_plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  frames: int = 16,
  size: int = 224,
) -> Plan:
  """Returns what a state dict of VideoMAE (arXiv:2203.12602) is to become.

  Args:
    shapes: by name: the encoder alone, or below "videomae." beside a decoder
      or a classifier.
    compat: changes nothing.
    num_heads: K; None = as the released ones of this width.
    frames: T that are seen at a time.
    size: H = W of the frames; places are sines, so that any is possible.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  at = prefix(shapes, "videomae.")
  patch, layer = (
    f"{at}embeddings.patch_embeddings.projection",
    f"{at}encoder.layer",
  )
  vision = _vision(
    shapes,
    patch,
    layer,
    "intermediate.dense",
    heads=(num_heads, VIDEOMAE_HEADS),
    position="sinusoid",
    epsilon=1e-12,
    frames=frames,
  )
  block, here = f"{layer}.{{i}}", "vision/blocks/layers"
  attention = f"{block}.attention.attention"
  entries = [
    *patch_entries(patch, "vision/embed", *vision["patch"]),
    *norm(f"{block}.layernorm_before", f"{here}/norm_attention"),
    *linear(f"{attention}.query", f"{here}/attention/query", bias=False),
    Entry(f"{attention}.q_bias", f"params/{here}/attention/query/bias"),
    *linear(f"{attention}.key", f"{here}/attention/key", bias=False),
    *linear(f"{attention}.value", f"{here}/attention/value", bias=False),
    Entry(f"{attention}.v_bias", f"params/{here}/attention/value/bias"),
    *linear(f"{block}.attention.output.dense", f"{here}/attention/out"),
    *norm(f"{block}.layernorm_after", f"{here}/norm_mlp"),
    *linear(f"{block}.intermediate.dense", f"{here}/mlp/inner"),
    *linear(f"{block}.output.dense", f"{here}/mlp/outer"),
  ]
  # Behind all tokens, behind their mean, or left out: as it was trained.
  found = [
    name for name in (f"{at}layernorm", "fc_norm") if f"{name}.weight" in shapes
  ]
  vision["last_norm"] = "none"
  if found:
    vision["last_norm"] = "pooled" if found[0] == "fc_norm" else "tokens"
    entries += norm(found[0], "vision/norm")
  unused = [
    Unused("classifier.*", "a classifier behind the feature"),
    Unused("decoder.*", "the decoder of its training"),
    Unused("encoder_to_decoder.*", "the decoder of its training"),
    Unused("mask_token", "the decoder of its training"),
  ]
  key = f"params/{here}/attention/key/bias"
  table = NameTable(entries, unused, fresh={key: "keys have no bias: it is 0"})
  return _plan(vision, table, size)


def vjepa2_plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  frames: int = 64,
  size: int = 256,
) -> Plan:
  """Returns what a state dict of V-JEPA 2 (arXiv:2506.09985) is to become.

  Args:
    shapes: by name: encoder and predictor, or below "vjepa2." beside a
      classifier.
    compat: changes nothing.
    num_heads: K; None = as the released ones of this width.
    frames: T that are seen at a time; no weight depends on it.
    size: H = W of the frames, likewise.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  at = prefix(shapes, "vjepa2.")
  patch, layer = (
    f"{at}encoder.embeddings.patch_embeddings.proj",
    f"{at}encoder.layer",
  )
  vision = _vision(
    shapes,
    patch,
    layer,
    "mlp.fc1",
    heads=(num_heads, VJEPA2_HEADS),
    position="rotary",
    epsilon=1e-6,
    frames=frames,
  )
  entries = [
    *patch_entries(patch, "vision/embed", *vision["patch"]),
    *blocks(layer, "vision/blocks", VJEPA2_PARTS),
    *norm(f"{at}encoder.layernorm", "vision/norm"),
  ]
  unused = [
    Unused(f"{at}predictor.*", "the predictor of its training"),
    Unused("pooler.*", "a pooler behind the features"),
    Unused("classifier.*", "a classifier behind the pooler"),
  ]
  return _plan(vision, NameTable(entries, unused), size)


VIDEOMAE = Kind(
  summary="VideoMAE: a video tower, from Hugging Face's files.",
  marker=r"^(videomae\.)?encoder\.layer\.0\.attention\.attention\.q_bias$",
  plan=videomae_plan,
)
VJEPA2 = Kind(
  summary="V-JEPA 2: a video tower, from Hugging Face's files.",
  marker=r"^(vjepa2\.)?encoder\.embeddings\.patch_embeddings\.proj\.",
  plan=vjepa2_plan,
)


def _vision(shapes, patch, layer, hidden, *, heads, **options) -> dict:
  """The spec of a ViT over tubelets whose feature is the mean of its patches.

  Args:
    shapes: by name.
    patch: name of the map of patches.
    layer: what the names of blocks begin with.
    hidden: the first map of a block's perceptron.
    heads: number of heads as told, or None, and as released, by width.
    **options: of the ViT besides.
  """
  width, _, *kernel = axes_of(shapes, f"{patch}.weight", 5)
  return dict(
    name="vit",
    width=width,
    depth=count(shapes, f"{layer}.{{}}."),
    num_heads=heads_of(width, *heads),
    mlp_dim=axes_of(shapes, f"{layer}.0.{hidden}.weight", 2)[0],
    patch=tuple(kernel),
    class_token=False,
    pool="mean",
    **options,
  )


def _plan(vision, table, size) -> Plan:
  return Plan(
    model=dict(name="towers", vision=vision, normalization="imagenet"),
    context=clip_context(frames=vision["frames"], size=size),
    table=table,
    notes=(SAME, "The feature of a clip is the mean of its patches'."),
  )
