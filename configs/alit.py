r"""ALIT: 32 tokens a round, in as many of 8 rounds as an image needs.

Source: arXiv:2411.02393. One Transformer reads patches, new registers and those
of the rounds before, again and again; a cosine codebook rounds the registers,
and a ViT makes pixels of those of the first rounds, as many as are drawn.

  python train.py --config=configs/alit.py \
    --config.data.train.manifest=images --workdir=runs/alit

With `validation=MANIFEST`, `adaptive_length` lets every clip stop at the first
round whose mean absolute error is under a threshold. Here registers stay what
they are once a round has made them; the paper changes them in later rounds,
weighs the loss of all rounds, and learns the codes of a frozen VQGAN first.
"""

from configs import common

PATCH = (1, 16, 16)
# In [0, 1]; the paper stops at 0.07.
THRESHOLDS = (0.05, 0.07, 0.1)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg, rounds=8, frames=1, size=256, **common.AUTOENCODER
  )
  budgets = tuple(32 * (number + 1) for number in range(arg.rounds))
  config = common.autoencoder_base(arg, budgets)
  if arg.validation:
    config.evals.adaptive_length = config.evals.reconstruction.to_dict() | dict(
      name="adaptive_length", thresholds=THRESHOLDS
    )
  decoder = dict(
    name="pixel",
    patch=PATCH,
    inner_width=768,
    depth=12,
    num_heads=12,
    smooth=True,
    remat="full",
  )
  config.model = common.autoencoder_model(
    dict(
      name="alit",
      rounds=arg.rounds,
      num_new=32,
      patch=PATCH,
      position="table",
      depth=12,
    ),
    width=768,
    num_heads=12,
    reconstruction=dict(
      dim=12, quantizer=dict(name="vq", size=4096, cosine=True), decoder=decoder
    ),
    nested=dict(mode="uniform"),
  )
  config.objectives.quantization = dict(weight=1.0)
  config.optimizer.b2 = 0.95
  config.optimizer.weight_decay = 0.05
  config.optimizer.clip_norm = 3.0
  return config
