r"""LARP: 1024 queries hold a clip, in an order that a prior can follow.

Source: arXiv:2410.21264. Learned queries and the tubelets of 16 frames of 128
pixels read each other; a query becomes a code drawn from 8192 by its cosines; a
Transformer makes pixels. A small causal Transformer, trained along, guesses
each code from those in front of it, and its loss reaches the encoder.

  python train.py --config=configs/larp.py \
    --config.data.train.manifest=videos.json --workdir=runs/larp

All tokens belong together, there is no nested dropout. `adversarial=True`
trains a convolutional discriminator along, where the paper has a Transformer;
it also has a perceptual loss, and dropout in the prior.
"""

from configs import common

PATCH = (4, 8, 8)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    registers=1024,
    prior=0.06,
    adversarial=False,
    frames=16,
    size=128,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg)
  reconstruction = dict(
    dim=16,
    quantizer=dict(name="stochastic_vq", size=8192),
    decoder=dict(
      name="pixel",
      patch=PATCH,
      inner_width=768,
      depth=12,
      num_heads=12,
      queries="sincos",
      remat="full",
    ),
  )
  config.objectives = dict(
    reconstruction=dict(weight=1.0, l1=1.0, l2=0.0),
    quantization=dict(weight=1.0),
  )
  config.model = common.autoencoder_model(
    dict(
      num_registers=arg.registers,
      patch=PATCH,
      pattern=dict(name="dense"),
      depth=12,
    ),
    width=768,
    num_heads=12,
    reconstruction=reconstruction,
  )
  if arg.adversarial:
    common.add_adversary(config, generator=0.3, rate=0.3, loss="non_saturating")
  if arg.prior:
    config.model.reconstruction.prior = dict(width=384, depth=12, num_heads=6)
    config.objectives.prior = dict(weight=arg.prior)
    rates = config.optimizer.get("rates", {})
    config.optimizer.rates = {**rates, "/prior/": 50.0}
  config.optimizer.b1 = 0.5
  config.optimizer.b2 = 0.9
  config.optimizer.weight_decay = 0.0
  return config
