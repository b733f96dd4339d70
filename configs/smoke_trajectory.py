r"""Trajectory tokens, contrastive, on moving sprites: the smallest whole run.

python train.py --config=configs/smoke_trajectory.py:steps=30 --workdir=W
"""

from configs import common


def get_config(arg=""):
  """Returns the config; `arg` may set steps and batch_size."""
  arg = common.parse_arg(arg, steps=200, batch_size=16)
  config = common.base()
  config.total_steps = arg.steps
  config.log_every = 1
  config.data = common.sprites_data(arg.batch_size, count=1024)
  config.model = dict(
    name="video_text",
    tokenizer=dict(name="trajectory_light"),
    encoder=dict(name="vit", width=64, depth=2, num_heads=4),
    text=dict(name="transformer", width=64, depth=2, num_heads=4),
    embed_dim=64,
  )
  config.optimizer.learning_rate = 2e-3
  config.optimizer.warmup_steps = min(10, arg.steps // 3)
  config.checkpoint.every = 10
  config.evals = dict(
    retrieval=dict(
      every=0, data=dict(name="moving_sprites", split="validation", count=64)
    )
  )
  return config
