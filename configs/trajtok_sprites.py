r"""TrajTok on moving sprites: trajectories learned from pixels, in minutes.

  python train.py --config=configs/trajtok_sprites.py --workdir=runs/trajtok

`:objectives=contrastive` learns them from captions alone and
`:objectives=grouping` trains the segmenter alone from the true tracks; the
default does both. No tracks are read at evaluation. Clips, trunk and text tower
are those of quickstart_sprites; batches are half as large, since a segmenter
wants many steps. What came out is in docs/trajtok.md, beside

  python train.py --config=configs/quickstart_sprites.py:steps=1800 \
    --config.data.batch_size=32 --workdir=runs/true_tracks
"""

from configs import common

SEGMENT_WIDTH = 64
SEGMENTER = dict(
  stem=dict(name="conv", widths=(32, 48, 64)),
  num_slots=16,
  depth=1,
  initial_scale=10.0,
)
GROUPING = dict(weight=1.0, dice=2.0, focal=1.0, soft_matching=True)
CONTRASTIVE = dict(weight=1.0)
# objectives -> (the objectives, what the tokenizer is told beyond SEGMENTER).
# With captions alone the tokens have to teach the segmenter; with tracks they
# need not, and tracks teach the encoder before the segmenter is any good. With
# captions, sharp assignments and large steps leave all cells to a single slot.
OBJECTIVES = {
  "joint": (
    dict(contrastive=CONTRASTIVE, grouping=GROUPING),
    dict(pool=dict(name="frames", straight_through=False), teacher=0.5),
  ),
  "contrastive": (
    dict(contrastive=CONTRASTIVE),
    dict(pool=dict(name="frames"), initial_scale=3.8),
  ),
  "grouping": (dict(grouping=GROUPING), None),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the objectives and the keys of SPRITES.

  Raises:
    ValueError: unknown objectives.
  """
  values = common.SPRITES | dict(steps=1800)
  arg = common.parse_arg(arg, objectives="joint", **values)
  common.check_choice("objectives", arg.objectives, OBJECTIVES)
  config = common.sprites_base(arg)
  config.data.batch_size = 32
  config.objectives, tokens = OBJECTIVES[arg.objectives]
  if arg.objectives == "contrastive":
    config.optimizer.learning_rate = 5e-4
  if tokens is None:
    heads = common.SPRITES_ENCODER["num_heads"]
    config.model = dict(
      name="segmenter", width=SEGMENT_WIDTH, num_heads=heads, **SEGMENTER
    )
  else:
    tokenizer = dict(name="trajtok", segment_width=SEGMENT_WIDTH)
    tokenizer |= SEGMENTER | tokens
    config.model = common.sprites_model(tokenizer)
    config.evals = common.sprites_retrieval(config)
    config.evals.validation.every = 200

  def grouping(split, *, every=0, clip=None):
    found = common.sprites_eval(config, "grouping", split, every)
    found["data"]["clip"] = clip or {}
    return found

  # The segmenter learns from 16 frames a clip, and is measured on the same
  # motions at half and at twice the frame rate as well.
  config.evals.validation_tracks = grouping("validation", every=200)
  config.evals.tracks = grouping("static")
  config.evals.frames_8 = grouping("static", clip=dict(frames=8))
  config.evals.frames_32 = grouping("static", clip=dict(frames=32))
  return config
