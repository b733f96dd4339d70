r"""TrajViT on one's own videos: trajectory tokens, contrastive, ViT-L deep.

Source: arXiv:2505.23617. A manifest is a JSON or JSONL list of {"video",
"caption"}, a "path label" list, or a folder; tracks are read from TrajViT's
sidecar files, and taken from the pixels for a video without them. Take them
once, beforehand, with `trajvit data tracks MANIFEST`.

  python train.py --config=configs/trajvit_clip.py \
    --config.data.train.manifest=videos.json --workdir=runs/trajvit

A smaller one: --config=configs/trajvit_clip.py:variant=S,frames=8
`packed=True` lets clips share rows of the encoder, see docs/packing.md.
"""

from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below."""
  arg = common.parse_arg(
    arg,
    variant="L",
    steps=100_000,
    batch_size=64,
    frames=16,
    size=224,
    packed=False,
  )
  config = common.base()
  config.total_steps = arg.steps
  config.data = dict(
    batch_size=arg.batch_size,
    clip=dict(
      frames=arg.frames,
      size=arg.size,
      track_grid=arg.size // 4,
      max_tracks=128,
      sampler="middle",
      augment="crop_flip",
    ),
    text=dict(name="bytes", length=128),
    train=dict(name="video_files", manifest="", root="", tracks="auto"),
    loader=common.loader(),
  )
  if arg.packed:
    # A row holds the longest clip, and there are 51 slots for each on average.
    config.data.packing = dict(
      tokens="tracks",
      clips=arg.batch_size,
      rows=-(-3 * arg.batch_size // 8),
      length=136,
    )
  config.model = dict(
    name="video_text",
    tokenizer=dict(name="trajectory", stem="resnet18", appearance_depth=4),
    encoder=dict(name="vit", variant=arg.variant, remat=True, **unset()),
    text=dict(name="transformer", variant="S", **unset()),
    embed_dim=256,
    normalization="imagenet",
    dtype="bfloat16",
  )
  if arg.variant in ("L", "H"):
    # TrajViT keeps depth and heads of these and makes them 512 wide.
    config.model.encoder.width = 512
  config.optimizer.learning_rate = 1e-4
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.02
  config.optimizer.warmup_steps = arg.steps // 30
  config.checkpoint.every = 1000
  return config


def unset() -> dict:
  """Returns the numbers that a variant sets, free to be set instead."""
  names = ("width", "depth", "num_heads")
  return {name: placeholder(int) for name in names}
