"""Names of the autoencoder of latent diffusion, as `diffusers` has them."""

from trajvit.interop.kinds.blocks import convolution, linear, norm
from trajvit.interop.kinds.kind import axes_of, count
from trajvit.interop.names import Entry

_ATTENTION = {
  "to_q": "query",
  "to_k": "key",
  "to_v": "value",
  "to_out.0": "out",
}


def kl_spec(shapes: dict, at: str, scaling_factor: float) -> dict:
  """Returns the spec of `models.latents.KLLatents` for these weights.

  Args:
    shapes: by name.
    at: what the names begin with.
    scaling_factor: of the latents, which no weight tells.

  Raises:
    ValueError: an array that tells of sizes is missing.
  """
  level = f"{at}encoder.down_blocks"
  widths = tuple(
    axes_of(shapes, f"{level}.{i}.resnets.0.conv1.weight", 4)[0]
    for i in range(count(shapes, f"{level}.{{}}."))
  )
  return dict(
    name="kl",
    scaling_factor=scaling_factor,
    channels=axes_of(shapes, f"{at}decoder.conv_in.weight", 4)[1],
    widths=widths,
    depth=count(shapes, f"{level}.0.resnets.{{}}."),
    maps=f"{at}quant_conv.weight" in shapes,
  )


def kl_entries(at: str, ours: str) -> list[Entry]:
  """Returns the entries of both halves.

  Args:
    at: what their names begin with.
    ours: the `KLLatents`.
  """
  return [
    *_half(f"{at}encoder", f"{ours}/encoder", "down"),
    *_half(f"{at}decoder", f"{ours}/decoder", "up"),
    *convolution(f"{at}quant_conv", f"{ours}/encoder/last_map"),
    *convolution(f"{at}post_quant_conv", f"{ours}/decoder/first_map"),
  ]


def _half(theirs, ours, way):
  """Entries of an encoder or a decoder."""
  level, here = f"{theirs}.{way}_blocks.{{s}}", f"{ours}/levels/{{s}}"
  middle, own = f"{theirs}.mid_block", f"{ours}/middle"
  attention = f"{middle}.attentions.0"
  return [
    *convolution(f"{theirs}.conv_in", f"{ours}/embed"),
    *_residual(f"{level}.resnets.{{b}}", f"{here}/blocks/{{b}}"),
    *convolution(f"{level}.{way}samplers.0.conv", f"{here}/resize"),
    *_residual(f"{middle}.resnets.0", f"{own}/first"),
    *norm(f"{attention}.group_norm", f"{own}/norm"),
    *(
      entry
      for name, part in _ATTENTION.items()
      for entry in linear(f"{attention}.{name}", f"{own}/attention/{part}")
    ),
    *_residual(f"{middle}.resnets.1", f"{own}/second"),
    *norm(f"{theirs}.conv_norm_out", f"{ours}/norm"),
    *convolution(f"{theirs}.conv_out", f"{ours}/out"),
  ]


def _residual(theirs, ours):
  """Entries of a `layers.group_residual.GroupResidual`."""
  return [
    *norm(f"{theirs}.norm1", f"{ours}/norm_first"),
    *convolution(f"{theirs}.conv1", f"{ours}/conv_first"),
    *norm(f"{theirs}.norm2", f"{ours}/norm_second"),
    *convolution(f"{theirs}.conv2", f"{ours}/conv_second"),
    *convolution(f"{theirs}.conv_shortcut", f"{ours}/shortcut"),
  ]
