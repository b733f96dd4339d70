r"""Tokenizers related to TrajTok on moving sprites: one method each.

  python train.py --config=configs/grouping_sprites.py:method=slots \
    --workdir=runs/slots

`semantic` is STViT, arXiv:2303.08685; `dart` DART, arXiv:2506.10390; `slots`
slot attention, arXiv:2006.15055, in TrajTok's place. These read pixels alone.
`subobject`, arXiv:2402.14327, and `object_tokens`, VideoOrion,
arXiv:2411.16156, are given the true tracks. Each is as published, so that what
was made for images makes tokens of every frame, and token counts differ: see
`cost`. Data, steps, trunk, text tower and optimizer are quickstart_sprites'.
"""

from configs import common

CONV = dict(name="conv")
METHODS = {
  "semantic": dict(name="semantic", patch=(2, 8, 8), windows=(2, 4, 4)),
  "dart": dict(name="dart", patch=(1, 8, 8), num_tokens=4, scope="frame"),
  "slots": dict(name="slots", stem=CONV, num_slots=16, video="clip"),
  "subobject": dict(name="subobject", crop=16, crop_patch=4, scope="frame"),
  "object_tokens": dict(name="object_tokens", stem=CONV),
}
# Those that say which token owns a cell of every frame.
GROUPS = ("dart", "slots")


def get_config(arg=""):
  """Returns the config; `arg` may set the method and the keys of SPRITES."""
  arg = common.parse_arg(arg, method="slots", **common.SPRITES)
  common.check_choice("method", arg.method, METHODS)
  config = common.sprites_base(arg)
  config.model = common.sprites_model(METHODS[arg.method])
  config.evals = common.sprites_retrieval(config)
  if arg.method in GROUPS:
    config.evals.tracks = common.sprites_eval(config, "grouping", "static")
  return config
