r"""TrajTok on moving sprites: trajectories learned from pixels, in minutes.

  python train.py --config=configs/trajtok_sprites.py --workdir=runs/trajtok

`:objectives=contrastive` learns them from captions alone and
`:objectives=grouping` trains the segmenter alone from the true tracks; the
default does both. No tracks are read at evaluation. Data, steps, trunk and text
tower are those of quickstart_sprites, so that their tables compare.
"""

from configs import common

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
# need not, and tracks teach the encoder before the segmenter is any good.
OBJECTIVES = {
  "joint": (
    dict(contrastive=CONTRASTIVE, grouping=GROUPING),
    dict(pool=dict(name="frames", straight_through=False), teacher=0.5),
  ),
  "contrastive": (
    dict(contrastive=CONTRASTIVE),
    dict(pool=dict(name="frames")),
  ),
  "grouping": (dict(grouping=GROUPING), None),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below."""
  arg = common.parse_arg(
    arg, objectives="joint", steps=900, clips=4096, seed=0, cache=""
  )
  if arg.objectives not in OBJECTIVES:
    raise ValueError(
      f"unknown objectives {arg.objectives!r}; known: {', '.join(OBJECTIVES)}"
    )
  config = common.base()
  config.seed = arg.seed
  config.total_steps = arg.steps
  config.log_every = 5
  cached = dict(tracks="exact", cache_dir=arg.cache)
  config.data = common.sprites_data(64, count=arg.clips, **cached)
  config.objectives, tokens = OBJECTIVES[arg.objectives]
  if tokens is None:
    config.model = dict(name="segmenter", width=64, num_heads=4, **SEGMENTER)
  else:
    config.model = dict(
      name="video_text",
      tokenizer=dict(name="trajtok", segment_width=64, **SEGMENTER, **tokens),
      encoder=dict(name="vit", width=96, depth=3, num_heads=4),
      text=dict(name="transformer", width=64, depth=2, num_heads=4),
      embed_dim=64,
    )
  config.optimizer.learning_rate = 2e-3
  config.optimizer.warmup_steps = min(40, arg.steps // 3)
  config.checkpoint.every = 150

  def on(split, name, every=0, clip=None, **options):
    data = dict(name="moving_sprites", split=split, clip=clip or {}, **cached)
    return dict(name=name, every=every, data=data, **options)

  # The segmenter learns from 16 frames a clip, and is measured on the same
  # motions at half and at twice the frame rate as well.
  config.evals = dict(
    frames_8=on("static", "grouping", clip=dict(frames=8)),
    frames_32=on("static", "grouping", clip=dict(frames=32)),
    validation_tracks=on("validation", "grouping", every=100),
    tracks=on("static", "grouping"),
  )
  if tokens is not None:
    config.evals.update(
      cost=on("static", "cost"),
      validation=on("validation", "retrieval", every=100),
      static=on("static", "retrieval"),
      moving=on("moving", "retrieval"),
      hard=on("hard", "retrieval", groups=8),
    )
  return config
