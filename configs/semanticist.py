r"""Semanticist: an image as 256 vectors in the order of what they explain.

Source: arXiv:2503.08685. A ViT-B reads patches, and slots that see those in
front of them; a slot is 16 numbers of mean 0 and deviation 1, and not rounded.
A diffusion Transformer reads the first k, a learned null vector of its place
instead of every other one: guidance goes away from all null vectors.

  python train.py --config=configs/semanticist.py \
    --config.data.train.manifest=images --workdir=runs/semanticist

The paper makes the latents of a frozen autoencoder by a DiT-L/2 that predicts
noise, here a rectified flow makes pixels in as many patches. It aligns block 8
with DINOv2. It leaves clips without any slot out of training after epoch 50,
though guidance reads what was learned of them; here one in ten is such a clip.
"""

from configs import common

DECODERS = {
  "L": dict(inner_width=1024, depth=24, num_heads=16),
  "XL": dict(inner_width=1152, depth=28, num_heads=16),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg, decoder="L", registers=256, frames=1, size=256, **common.AUTOENCODER
  )
  common.check_choice("decoder", arg.decoder, DECODERS)
  config = common.autoencoder_base(arg, common.budgets(arg.registers))
  decoder = DECODERS[arg.decoder] | dict(
    name="flow",
    patch=(1, 32, 32),
    tail="null",
    null_probability=0.1,
    guidance=3.0,
    remat="full",
  )
  config.model = common.autoencoder_model(
    dict(
      num_registers=arg.registers,
      patch=(1, 16, 16),
      position="table",
      depth=12,
    ),
    width=768,
    num_heads=12,
    reconstruction=dict(
      dim=16, quantizer=dict(name="none", norm=True), decoder=decoder
    ),
    nested=dict(mode="uniform"),
  )
  config.optimizer.b2 = 0.95
  config.optimizer.weight_decay = 0.05
  config.optimizer.clip_norm = 3.0
  return config
