"""ViT, from Hugging Face's files."""

from trajvit.interop.kinds.blocks import linear, norm, vit_blocks
from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import (
  SAME,
  heads_of,
  prefix,
  side_of,
)
from trajvit.interop.layouts import leading, patches
from trajvit.interop.names import Entry, NameTable, Unused

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}


def plan(
  shapes: dict,
  *,
  compat: bool,
  num_heads: int | None = None,
  activation: str = "gelu",
  epsilon: float = 1e-12,
  normalization: str = "symmetric",
  frames: int = 1,
) -> Plan:
  """Returns what a state dict of ViT is to become.

  Args:
    shapes: by name; those of a model with heads begin with "vit.".
    compat: changes nothing.
    num_heads: K; None = as the released ones of this width.
    activation: of the perceptrons, see `layers.mlp`.
    epsilon: of the layer norms.
    normalization: of the frames; Google's weights want "symmetric", those of
      DeiT and DINO "imagenet".
    frames: T of the clips to be read, frame by frame.

  Raises:
    ValueError: arrays that tell of sizes are missing or contradict each other.
  """
  del compat
  at = prefix(shapes, "vit.")
  patch, places = (
    f"{at}embeddings.patch_embeddings.projection",
    (f"{at}embeddings.position_embeddings"),
  )
  layer = f"{at}encoder.layer"
  width, _, side, _ = axes_of(shapes, f"{patch}.weight", 4)
  cells = axes_of(shapes, places, 3)[1] - 1
  vision = dict(
    name="vit",
    width=width,
    depth=count(shapes, f"{layer}.{{}}."),
    num_heads=heads_of(width, num_heads, HEADS),
    mlp_dim=axes_of(shapes, f"{layer}.0.intermediate.dense.weight", 2)[0],
    patch=(1, side, side),
    activation=activation,
    epsilon=epsilon,
  )
  entries = [
    Entry(f"{at}embeddings.cls_token", "params/vision/class_token", leading(2)),
    Entry(places, "params/vision/position", leading(1)),
    *patch_entries(patch, "vision/embed", side, side),
    *vit_blocks(layer, "vision/blocks"),
    *norm(f"{at}layernorm", "vision/norm"),
  ]
  unused = [
    Unused("*pooler.dense.*", "a pooler behind the feature"),
    Unused("classifier.*", "a classifier behind the feature"),
    Unused("*embeddings.mask_token", "for training with masked patches"),
  ]
  return Plan(
    model=dict(name="towers", vision=vision, normalization=normalization),
    context=clip_context(frames=frames, size=side * side_of(cells, places)),
    table=NameTable(entries, unused),
    notes=(
      SAME,
      "The feature of a frame is its class token's, not the pooler's.",
    ),
  )


def patch_entries(
  theirs: str, ours: str, *kernel: int, bias: bool = True
) -> list[Entry]:
  """Returns the entries of a convolution that embeds patches."""
  weight, *rest = linear(theirs, ours, bias=bias)
  return [Entry(weight.theirs, weight.ours, patches(*kernel)), *rest]


VIT = Kind(
  summary="ViT: an image tower, from Hugging Face's files.",
  marker=r"^(vit\.)?embeddings\.cls_token$",
  plan=plan,
)
