r"""FlexTok: an image as 1 to 256 nested tokens, and a flow that paints it.

Source: arXiv:2502.13967. Registers read patches and the registers in front of
them, FSQ rounds each to one of 64,000 codes, and a rectified flow is steered by
the first k, a mask token standing in for the rest.

  python train.py --config=configs/flextok.py \
    --config.data.train.manifest=images --workdir=runs/flextok

`encoder` and `decoder` are d12, d18 or d28: depth, heads, and width / 64. By
default it reads and makes pixels, in patches of equal number, and its encoder
has plain blocks. The paper's model has the latents of a frozen autoencoder, and
an encoder of gated perceptrons and normed attention, as the decoder is:

  trajvit convert flextok.safetensors runs/released
  python train.py \
    --config=configs/flextok.py:latents=runs/released,scaling_factor=X

takes the autoencoder of the converted weights, whose config.json has X, the
`scaling_factor` of its latents. The paper also aligns the decoder's second
block with DINOv2, for which `reconstruction.alignment` is there, with a teacher
of one's own (see docs/nested_tokens.md). `configs/flextok_sprites.py` is the
small one.
"""

from configs import common

DEPTHS = {"d12": 12, "d18": 18, "d28": 28}
LEVELS = (8, 8, 8, 5, 5, 5)
# Norms of the guidance, see `ops.guidance`.
PROJECTED = dict(momentum=-0.5, radius=2.5, parallel=0.0)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER.

  Raises:
    ValueError: an unknown size, or latents without a scaling factor.
  """
  arg = common.parse_arg(
    arg,
    encoder="d18",
    decoder="d18",
    registers=256,
    mode="uniform",
    frames=1,
    size=256,
    latents="",
    scaling_factor=0.0,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg, common.budgets(arg.registers))
  config.model = model(
    arg,
    dict(patch=(1, 16, 16)),
    dict(steps=20, guidance=7.5, projected=PROJECTED),
  )
  config.optimizer.b2 = 0.95
  config.optimizer.weight_decay = 0.05
  if arg.latents:
    add_latents(config, arg.latents, arg.scaling_factor)
  return config


def add_latents(config, run: str, scaling_factor: float):
  """In place: latents for pixels, and the paper's encoder.

  Args:
    config: of `model`.
    run: of FlexTok, converted; its autoencoder is taken.
    scaling_factor: of its latents.

  Raises:
    ValueError: no scaling factor.
  """
  if not scaling_factor > 0:
    raise ValueError(
      "latents=RUN needs the scaling_factor of the run's latents, which its "
      f"config.json has, got {scaling_factor}"
    )
  patch = (1, 2, 2)
  latents = dict(name="kl", scaling_factor=scaling_factor, sample=True)
  config.model.latents = latents
  config.model.tokenizer.update(patch=patch, position="plane", normed=True)
  config.model.reconstruction.norm = False
  config.model.reconstruction.decoder.update(patch=patch, plane=True)
  common.add_frozen(config, "latents", run, "latents")


def model(arg, tokenizer, decoder):
  """Returns the autoencoder, with more options of its two ends.

  Args:
    arg: `encoder`, `decoder`, `registers` and `mode`.
    tokenizer: its `patch`, which is the decoder's too, and more.
    decoder: how to sample.
  """
  common.check_choice("encoder", arg.encoder, DEPTHS)
  common.check_choice("decoder", arg.decoder, DEPTHS)
  reads, makes = DEPTHS[arg.encoder], DEPTHS[arg.decoder]
  decoder = decoder | dict(
    name="flow",
    patch=tokenizer["patch"],
    inner_width=64 * makes,
    depth=makes,
    num_heads=makes,
    tail="mask",
    null_probability=0.2,
    remat="full",
  )
  return common.autoencoder_model(
    dict(num_registers=arg.registers, depth=reads) | tokenizer,
    width=64 * reads,
    num_heads=reads,
    reconstruction=dict(
      dim=len(LEVELS),
      quantizer=dict(name="fsq", levels=LEVELS),
      decoder=decoder,
    ),
    nested=dict(mode=arg.mode, full=0.1),
  )
