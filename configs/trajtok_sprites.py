r"""TrajTok on moving sprites: trajectories learned from pixels, in minutes.

  python train.py --config=configs/trajtok_sprites.py --workdir=runs/trajtok

`:objectives=contrastive` learns them from captions alone and
`:objectives=grouping` trains the segmenter alone from the true tracks; the
default does both. No tracks are read at evaluation. Data, steps, trunk and text
tower are those of quickstart_sprites, so that their tables compare.
"""

from configs import common

SEGMENTER = dict(stem=dict(name="conv"), num_slots=16, depth=1)
# The weights of TrajViT2, and of the segmenter on its own.
GROUPING = dict(weight=1.0, dice=1.0, focal=0.5)
GROUPING_ALONE = dict(weight=1.0, dice=2.0, focal=1.0)
OBJECTIVES = {
  "joint": dict(contrastive=dict(weight=1.0), grouping=GROUPING),
  "contrastive": dict(contrastive=dict(weight=1.0)),
  "grouping": dict(grouping=GROUPING_ALONE),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below."""
  arg = common.parse_arg(
    arg, objectives="joint", steps=300, clips=4096, seed=0, cache=""
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
  config.objectives = OBJECTIVES[arg.objectives]
  if arg.objectives == "grouping":
    config.model = dict(name="segmenter", width=96, num_heads=4, **SEGMENTER)
  else:
    config.model = dict(
      name="video_text",
      tokenizer=dict(name="trajtok", **SEGMENTER),
      encoder=dict(name="vit", width=96, depth=3, num_heads=4),
      text=dict(name="transformer", width=64, depth=2, num_heads=4),
      embed_dim=64,
    )
  config.optimizer.learning_rate = 2e-3
  config.optimizer.warmup_steps = min(40, arg.steps // 3)
  config.checkpoint.every = 150

  def on(split, name, every=0, **options):
    data = dict(name="moving_sprites", split=split, **cached)
    return dict(name=name, every=every, data=data, **options)

  config.evals = dict(
    validation_tracks=on("validation", "grouping", every=50),
    tracks=on("static", "grouping"),
    cost=on("static", "cost"),
  )
  if arg.objectives != "grouping":
    config.evals.update(
      validation=on("validation", "retrieval", every=50),
      static=on("static", "retrieval"),
      moving=on("moving", "retrieval"),
      hard=on("hard", "retrieval", groups=8),
    )
  return config
