"""FlexTok and the autoencoder whose latents it reads, from its authors' files.

Source: arXiv:2502.13967 and the code that its authors released.
"""

import re

import numpy as np

from trajvit.interop.kinds.blocks import linear
from trajvit.interop.kinds.kind import Kind, Plan, clip_context, count
from trajvit.interop.kinds.kl import kl_entries, kl_spec
from trajvit.interop.kinds.released import SAME, axes_of, side_of
from trajvit.interop.kinds.told import Told
from trajvit.interop.layouts import Layout
from trajvit.interop.literals import literal
from trajvit.interop.names import Entry, NameTable, Unused
from trajvit.ops.sincos import sincos_grid

# The parts of its config, which a file may have in its header.
PARTS = (
  "vae",
  "encoder",
  "decoder",
  "regularizer",
  "flow_matching_noise_module",
  "pipeline",
)
READS, MAKES = "encoder.module_dict.enc_", "decoder.module_dict.dec_"
VAE = "vae.vae."
# What its authors recommend for sampling; see `ops.guidance`.
SAMPLING = dict(
  steps=20,
  guidance=7.5,
  projected=dict(momentum=-0.5, radius=2.5, parallel=0.0),
)
# What compilation and checkpoints of activations put into names.
_WRAPPER = re.compile(r"(?:_checkpoint_wrapped_module|_orig_mod)\.")
_ATTENTION = {"wq": "query", "wk": "key", "wv": "value", "proj": "out"}
_GATED = {"fc1": "gate", "fc2": "down", "fc3": "up"}
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
  spelled = _spelled(shapes)
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
  usage = "batch_stats/reconstruction/quantizer/usage/0"
  return Plan(
    model=model,
    context=clip_context(frames=1, size=size),
    table=NameTable(
      [*_entries(), *kl_entries(VAE, "latents")],
      [_positions(READS, "posemb_module"), _positions(MAKES, "patches_posemb")],
      fresh={usage: "how often codes occur is counted in training"},
      spelled={x: there for x, there in spelled.items() if x != there},
    ),
    notes=(
      SAME,
      _MODE,
      "It reads one image at a time, a clip of one frame.",
    ),
  )


def _spelled(shapes):
  """{name without wrappers: name}.

  Raises:
    ValueError: two names are the same without.
  """
  found = {}
  for name in shapes:
    plain = _WRAPPER.sub("", name)
    if plain in found:
      raise ValueError(f"{found[plain]} and {name} are the same array twice")
    found[plain] = name
  return found


def _check(told):
  """Raises ValueError for variants that our parts do not have."""
  told.only(f"{READS}seq_packer.mask_mode", known="causal_last", needed=True)
  told.only(f"{MAKES}seq_packer.mask_mode", known="full")
  told.only(f"{READS}to_latents.use_mup_readout", known=False)
  told.only(f"{MAKES}to_patches.use_mup_readout", known=False)
  told.only(f"{MAKES}latent_dropout.replace_with_single_token", known=False)
  for posemb in (f"{READS}posemb_module", f"{MAKES}patches_posemb_module"):
    told.only(f"{posemb}.posemb_type", known="sincos")
    told.only(f"{posemb}.posemb_scaling", known="absolute")
  for part in (READS, MAKES):
    told.only(f"{part}transformer.qk_norm", known=True)
    told.only(f"{part}transformer.gated_mlp", known=True)


def _size(shapes, told, sides, factor):
  """H = W in pixels.

  Raises:
    ValueError: more than there are positions for, or no squares.
  """
  *_, rows, columns = axes_of(shapes, f"{READS}posemb_module.posembs", 4)
  cells = side_of(rows * columns, f"{READS}posemb_module.posembs")
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


def _positions(part, module):
  """Places of patches: the table of sines that both trunks compute."""
  return Unused(
    f"{part}{module}*.posembs",
    "the sines and cosines of row and column",
    lambda x: sincos_grid(x.shape[2:], x.shape[1]).transpose(2, 0, 1)[None],
    within=1e-4,
  )


def _entries():
  """All entries but those of the autoencoder."""
  makes = "reconstruction/decoder"
  level, head = f"{makes}/trunk/level", f"{makes}/trunk/head"
  given = f"params/{makes}/conditioning"
  block, here = f"{MAKES}transformer.blocks.{{i}}", f"{makes}/trunk/blocks"
  return [
    *linear(f"{READS}patch_emb.patch_proj", "tokenizer/patches/embed"),
    Entry(
      f"{READS}register_module.registers",
      "params/tokenizer/registers",
      ONE_STEP,
    ),
    *_blocks(READS, "tokenizer/blocks"),
    *linear(f"{READS}to_latents.proj", "reconstruction/down"),
    *linear(f"{MAKES}from_latents.proj", f"{makes}/conditioning/project"),
    Entry(
      f"{MAKES}registers_posemb_module.posembs", f"{given}/positions", PLACES
    ),
    Entry(f"{MAKES}nested_dropout.dropout_mask_token", f"{given}/mask_token"),
    Entry(f"{MAKES}latent_dropout.nullcond", f"{given}/null_token"),
    *linear(f"{MAKES}noise_patch_emb.patch_proj", f"{makes}/trunk/stem"),
    *linear(f"{MAKES}time_embedder.mlp.0", f"{level}/inner"),
    *linear(f"{MAKES}time_embedder.mlp.2", f"{level}/outer"),
    *_blocks(MAKES, here),
    *linear(f"{block}.adaLN_modulation.1", f"{here}/layers/modulation"),
    *linear(f"{MAKES}to_patches.adaLN_modulation.1", f"{head}/modulation"),
    *linear(f"{MAKES}to_patches.proj", f"{head}/out"),
  ]


def _blocks(part, ours):
  """Entries of normed attention and gated perceptrons, without biases."""
  block, here = f"{part}transformer.blocks.{{i}}", f"{ours}/layers"
  names = {f"attn.{x}": f"attention/{own}" for x, own in _ATTENTION.items()}
  names |= {f"mlp.{x}": f"mlp/{own}" for x, own in _GATED.items()}
  return [
    entry
    for name, own in names.items()
    for entry in linear(f"{block}.{name}", f"{here}/{own}", bias=False)
  ]


def _places(xs):
  (x,) = xs
  if x.ndim != 4 or x.shape[:2] != (1, 1):
    raise ValueError("expected [1, 1, width, places]")
  return [x[0, 0].T]


ONE_STEP = Layout(
  "of the one step",
  lambda xs: [x[None] for x in xs],
  lambda xs: [x[0] for x in xs],
)
PLACES = Layout(
  "places first", _places, lambda xs: [np.asarray(x).T[None, None] for x in xs]
)
FLEXTOK = Kind(
  summary="FlexTok: images to nested tokens and back, and its autoencoder.",
  marker=r"(^|\.)enc_register_module\.registers$",
  plan=plan,
  header=header,
)
