"""DINOv3's ConvNeXt, from Hugging Face's files."""

from trajvit.interop.kinds.blocks import linear, norm
from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.released import SAME
from trajvit.interop.kinds.vit import patch_entries
from trajvit.interop.layouts import CONV, patches
from trajvit.interop.names import Entry, NameTable


def plan(
  shapes: dict, *, compat: bool, frames: int = 1, size: int = 224
) -> Plan:
  """Returns what a state dict of DINOv3's ConvNeXt is to become.

  Source: arXiv:2508.10104.

  Args:
    shapes: by name.
    compat: changes nothing.
    frames: T of the clips to be read, frame by frame.
    size: H = W of their frames, a multiple of 32.

  Raises:
    ValueError: arrays that tell of sizes are missing.
  """
  del compat
  stages = count(shapes, "stages.{}.")
  depths = [count(shapes, f"stages.{s}.layers.{{}}.") for s in range(stages)]
  widths = [
    axes_of(shapes, f"stages.{s}.layers.0.gamma", 1)[0] for s in range(stages)
  ]
  trunk = "vision/trunk"
  entries = [
    *patch_entries(
      "stages.0.downsample_layers.0", f"{trunk}/patches/0/linear", 4, 4
    ),
    *norm("stages.0.downsample_layers.1", f"{trunk}/patch_norms/0"),
    *norm("layer_norm", f"{trunk}/norm"),
  ]
  for s in range(stages):
    layer, here = f"stages.{s}.layers.{{i}}", f"{trunk}/stages/{s}/layers"
    conv = f"{layer}.depthwise_conv"
    entries += [
      Entry(f"{conv}.weight", f"params/{here}/conv/kernel", CONV),
      Entry(f"{conv}.bias", f"params/{here}/conv/bias"),
      *norm(f"{layer}.layer_norm", f"{here}/norm"),
      *linear(f"{layer}.pointwise_conv1", f"{here}/mlp/inner"),
      *linear(f"{layer}.pointwise_conv2", f"{here}/mlp/outer"),
      Entry(f"{layer}.gamma", f"params/{here}/gamma"),
    ]
    if s:
      down, to = f"stages.{s}.downsample_layers", f"{trunk}/patches/{s}/linear"
      halves = patches(2, 2, channels=widths[s - 1])
      entries += [
        *norm(f"{down}.0", f"{trunk}/patch_norms/{s}"),
        Entry(f"{down}.1.weight", f"params/{to}/kernel", halves),
        Entry(f"{down}.1.bias", f"params/{to}/bias"),
      ]
  vision = dict(name="convnext", depths=tuple(depths), widths=tuple(widths))
  return Plan(
    model=dict(name="towers", vision=vision, normalization="imagenet"),
    context=clip_context(frames=frames, size=size),
    table=NameTable(entries),
    notes=(SAME,),
  )


CONVNEXT = Kind(
  summary="DINOv3's ConvNeXt: an image tower, from Hugging Face's files.",
  marker=r"^stages\.0\.layers\.0\.depthwise_conv\.",
  plan=plan,
)
