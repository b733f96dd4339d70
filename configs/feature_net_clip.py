r"""A network of features for one's own videos, or images, in classes.

  python train.py --config=configs/feature_net_clip.py:classes=400 \
    --config.data.train.manifest=videos --workdir=runs/net

It learns the class of a clip, a folder of the manifest. What it has learned is
the teacher of `align=RUN` (see retok), which wants the same `classes`; `frames`
and `size` may differ, as it is convolutions all the way.
"""

from configs import common


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg, classes=400, frames=16, size=256, **common.AUTOENCODER
  )
  config = common.frames_base(arg, "classification")
  config.model = dict(name="feature_net", **network(arg.classes))
  config.objectives = dict(classification=dict(weight=1.0))
  return config


def network(classes: int) -> dict:
  """Returns the arguments of the network; its last map has 16 x 16 patches."""
  return dict(
    num_classes=classes, widths=(64, 128, 256, 512), normalization="imagenet"
  )
