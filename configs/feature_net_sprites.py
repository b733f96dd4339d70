r"""A network of features for distances between clips, on moving sprites.

  python train.py --config=configs/feature_net_sprites.py --workdir=runs/net

The class of a clip is the motion of the sprite that its caption names first,
which no frame alone tells. The features behind it are for perceptual losses and
for the evaluator `frechet`, see docs/nested_tokens.md.
"""

from configs import common, probe_sprites


def get_config(arg=""):
  """Returns the config; `arg` may set the keys of SPRITES."""
  arg = common.parse_arg(arg, **common.SPRITES)
  config = common.sprites_base(arg, "none")
  config.model = dict(
    name="feature_net",
    num_classes=probe_sprites.NUM_MOTIONS,
    widths=(32, 64, 128),
  )
  config.objectives = dict(classification=dict(weight=1.0))
  config.evals = dict(
    validation=common.sprites_eval(config, "classification", "validation"),
  )
  return config
