r"""A network of features for distances between clips, on moving sprites.

  python train.py --config=configs/feature_net_sprites.py --workdir=runs/net

The class of a clip is what its camera does, which no frame alone tells, and
which all of a frame tells. The features behind it are for perceptual losses,
alignment and the evaluator `frechet`, see docs/nested_tokens.md. The network
that the library has by the name `moving_sprites` is a run of this config.
"""

from configs import common

LABEL = "camera"
NUM_CLASSES = 8


def get_config(arg=""):
  """Returns the config; `arg` may set the keys of SPRITES."""
  arg = common.parse_arg(arg, **common.SPRITES | dict(steps=1600))
  config = common.sprites_base(arg, "none")
  config.data.batch_size = 16
  config.data.train.label = LABEL
  config.optimizer.learning_rate = 3e-3
  config.model = dict(
    name="feature_net", num_classes=NUM_CLASSES, widths=(16, 32, 48)
  )
  config.objectives = dict(classification=dict(weight=1.0))
  config.evals = dict(
    validation=common.sprites_eval(config, "classification", "validation", 200),
  )
  config.evals.validation.data.label = LABEL
  return config
