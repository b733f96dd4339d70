r"""TiTok: an image, or a frame, as 32 to 128 tokens that mean nothing alone.

Source: arXiv:2406.07550. Patches and registers read each other in a ViT, a
cosine codebook of 4096 codes rounds the registers, and a ViT makes pixels.

  python train.py --config=configs/titok.py \
    --config.data.train.manifest=images --workdir=runs/titok

`encoder` and `decoder` are S, B or L; the paper has 128, 64 and 32 tokens for
encoders of these sizes, and TiTok-BL is `decoder=L`. `adversarial=True` trains
a discriminator along. Here it is one stage that learns pixels; the paper first
learns the codes of a frozen VQGAN, and has a perceptual loss besides.

Released weights are converted, see docs/weights.md. They have a class token and
norms that this model does without, and the first of them mix registers up.
"""

from configs import common

SIZES = {
  "S": dict(width=512, depth=8, num_heads=8),
  "B": dict(width=768, depth=12, num_heads=12),
  "L": dict(width=1024, depth=24, num_heads=16),
}
PATCH = (1, 16, 16)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    encoder="B",
    decoder="B",
    registers=64,
    adversarial=False,
    frames=1,
    size=256,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg)
  config.model = model(arg, dict(name="dense"))
  return trained(config, arg)


def trained(config, arg):
  """Returns `config` with the losses and the optimizer of TiTok."""
  config.objectives.quantization = dict(weight=1.0)
  config.optimizer.b2 = 0.99
  config.optimizer.weight_decay = 1e-4
  config.optimizer.floor = 0.1
  if arg.adversarial:
    common.add_adversary(config, generator=0.1, lecam=0.001)
  return config


def model(arg, pattern, **parts):
  """Returns the autoencoder, `parts` besides what TiTok has."""
  common.check_choice("encoder", arg.encoder, SIZES)
  common.check_choice("decoder", arg.decoder, SIZES)
  reads, makes = SIZES[arg.encoder], SIZES[arg.decoder]
  tokenizer = dict(
    num_registers=arg.registers,
    patch=PATCH,
    position="table",
    pattern=pattern,
    depth=reads["depth"],
  )
  decoder = dict(
    name="pixel",
    patch=PATCH,
    inner_width=makes["width"],
    depth=makes["depth"],
    num_heads=makes["num_heads"],
    smooth=True,
    remat="full",
  )
  reconstruction = dict(
    dim=12, quantizer=dict(name="vq", size=4096, cosine=True), decoder=decoder
  )
  return common.autoencoder_model(
    tokenizer,
    width=reads["width"],
    num_heads=reads["num_heads"],
    reconstruction=reconstruction,
    **parts,
  )
