"""FlexTok and the autoencoder whose latents it reads, from its authors' files.

Source: arXiv:2502.13967 and the code that its authors released.
"""

from trajvit.interop.kinds.flextok_names import (
  MAKES,
  PLACES,
  READS,
  VAE,
  name_table,
  spelled_names,
)
from trajvit.interop.kinds.kind import Kind, Plan, axes_of, clip_context, count
from trajvit.interop.kinds.kl import kl_spec
from trajvit.interop.kinds.released import SAME, side_of
from trajvit.interop.kinds.told import Told
from trajvit.interop.literals import literal

# The parts of its config, which a file may have in its header.
PARTS = (
  "vae",
  "encoder",
  "decoder",
  "regularizer",
  "flow_matching_noise_module",
  "pipeline",
)
# What its authors recommend for sampling; see `ops.guidance`.
SAMPLING = dict(
  steps=20,
  guidance=7.5,
  projected=dict(momentum=-0.5, radius=2.5, parallel=0.0),
)
_MODE = (
  "Latents are the means of the autoencoder; the code that it comes from draws "
  "them, so that its ids of an image are never quite the same twice. `sample` "
  "of the latents draws them in training."
)


def header(metadata: dict[str, str]) -> dict:
  """Returns the config that the header of a file has as Python literals."""
  found = {part: literal(metadata[part]) for part in PARTS if part in metadata}
  return {name: x for name, x in found.items() if isinstance(x, dict)}


def plan(
  shapes: dict,
  *,
  compat: bool,
  vae: dict | None = None,
  encoder: dict | None = None,
  decoder: dict | None = None,
  regularizer: dict | None = None,
  flow_matching_noise_module: dict | None = None,
  pipeline: dict | None = None,
  size: int | None = None,
) -> Plan:
  """Returns what a state dict of FlexTok is to become.

  All but the last are the parts of its own config, from the header of the file,
  its `config.json` or by hand. Of `pipeline` nothing is read.

  Args:
    shapes: by name.
    compat: changes nothing.
    vae: its `scaling_factor`.
    encoder: `module_dict` with the patches and the heads.
    decoder: likewise, with `max_timestep`.
    regularizer: `levels`, and what is done to codes in training.
    flow_matching_noise_module: the law of noise levels in training.
    pipeline: of sampling.
    size: H = W of the frames; None is what the positions are for, less is the
      first rows and columns of these.

  Raises:
    ValueError: something that no weight tells and the config does not say; or a
      variant that our parts do not have.
  """
  del compat, pipeline
  told = Told(
    dict(
      vae=vae,
      encoder=encoder,
      decoder=decoder,
      regularizer=regularizer,
      flow_matching_noise_module=flow_matching_noise_module,
    )
  )
  spelled = spelled_names(shapes)
  shapes = {name: shapes[there] for name, there in spelled.items()}
  _check(told)
  latents = kl_spec(shapes, VAE, told.number("vae.scaling_factor"))
  sides = told.numbers(f"{READS}patch_emb.patch_sizes", 2)
  registers, width = axes_of(shapes, f"{READS}register_module.registers", 2)
  size = _size(shapes, size, sides, 2 ** (len(latents["widths"]) - 1))
  tokenizer = dict(
    name="registers",
    num_registers=registers,
    patch=(1, *sides),
    position="plane",
    normed=True,
    depth=count(shapes, f"{READS}transformer.blocks.{{}}."),
    mlp_dim=_hidden(shapes, READS),
  )
  levels = told.numbers("regularizer.levels")
  model = dict(
    name="autoencoder",
    tokenizer=tokenizer,
    width=width,
    num_heads=_heads(told, READS, width),
    latents=latents,
    reconstruction=dict(
      dim=len(levels),
      norm=False,
      quantizer=dict(name="fsq", levels=levels) | _perturbed(told),
      decoder=_decoder(told, shapes, sides) | _law(told),
    ),
    nested=dict(
      mode=told.get(f"{MAKES}nested_dropout.size_sampling_mode", "uniform")
    ),
    normalization="symmetric",
  )
  return Plan(
    model=model,
    context=clip_context(frames=1, size=size),
    table=name_table(spelled),
    notes=(
      SAME,
      _MODE,
      "It reads one image at a time, a clip of one frame.",
    ),
  )


def _check(told):
  """Raises ValueError for variants that our parts do not have."""
  told.only(f"{READS}seq_packer.mask_mode", known="causal_last", needed=True)
  told.only(f"{MAKES}seq_packer.mask_mode", known="full")
  told.only(f"{READS}to_latents.use_mup_readout", known=False)
  told.only(f"{MAKES}to_patches.use_mup_readout", known=False)
  told.only(f"{MAKES}latent_dropout.replace_with_single_token", known=False)
  for module in PLACES:
    told.only(f"{module}.posemb_type", known="sincos")
    told.only(f"{module}.posemb_scaling", known="absolute")
  for part in (READS, MAKES):
    told.only(f"{part}transformer.qk_norm", known=True)
    told.only(f"{part}transformer.gated_mlp", known=True)


def _size(shapes, told, sides, factor):
  """H = W in pixels.

  Raises:
    ValueError: more than there are positions for, or no squares.
  """
  for name in (f"{module}.posembs" for module in PLACES):
    *_, rows, columns = axes_of(shapes, name, 4)
    cells = side_of(rows * columns, name)
  if sides[0] != sides[1]:
    raise ValueError(f"patches must be squares, got {list(sides)}")
  most = cells * sides[0] * factor
  size = most if told is None else told
  if not 0 < size <= most:
    raise ValueError(f"config.size must be in [1, {most}], got {told}")
  return size


def _heads(told, part, width):
  """How many heads a trunk has, of 64 channels unless it is told otherwise.

  Raises:
    ValueError: they do not divide its width.
  """
  path = f"{part}transformer.head_dim"
  each = told.number(path, 64)
  if each < 1 or width % each:
    raise ValueError(f"{path} must divide the width {width}, got {each:g}")
  return int(width // each)


def _hidden(shapes, part):
  return axes_of(shapes, f"{part}transformer.blocks.0.mlp.fc1.weight", 2)[0]


def _decoder(told, shapes, sides):
  """The spec of the flow decoder, without how it is trained."""
  width = axes_of(shapes, f"{MAKES}from_latents.proj.weight", 2)[0]
  dropped = told.number(f"{MAKES}latent_dropout.dropout_prob", 0)
  return dict(
    name="flow",
    patch=(1, *sides),
    inner_width=width,
    depth=count(shapes, f"{MAKES}transformer.blocks.{{}}."),
    num_heads=_heads(told, MAKES, width),
    tail="mask",
    # There is a null token, whether or not it is trained any further.
    null_probability=dropped or 0.1,
    max_timestep=told.number(f"{MAKES}time_embedder.max_timestep"),
    plane=True,
    **SAMPLING,
  )


def _law(told):
  """How noise levels are drawn in training."""
  at = "flow_matching_noise_module."
  if told.get(f"{at}ln", True):
    return dict(stratified=bool(told.get(f"{at}stratisfied", False)))
  scale = told.number(f"{at}mode_scale", 0)
  return dict(law="mode", mode_scale=scale) if scale else dict(law="uniform")


def _perturbed(told):
  """What is done to codes in training."""
  most = told.number("regularizer.corrupt_tokens_p", 0)
  least = told.number("regularizer.min_corrupt_tokens_p", most)
  return dict(
    drop_quant_p=told.number("regularizer.drop_quant_p", 0),
    corrupt_p=told.number("regularizer.apply_corrupt_tokens_p", 0.2),
    corrupt_share=(least, most),
  )


FLEXTOK = Kind(
  summary="FlexTok: images to nested tokens and back, and its autoencoder.",
  marker=r"\.enc_register_module\.",
  plan=plan,
  header=header,
)
