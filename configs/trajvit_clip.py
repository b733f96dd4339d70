r"""TrajViT on one's own videos: trajectory tokens, contrastive, ViT-L deep.

Source: arXiv:2505.23617. A manifest is a JSON or JSONL list of {"video",
"caption"}, a "path label" list, or a folder; tracks are read from TrajViT's
sidecar files, and taken from the pixels for a video without them. Take them
once, beforehand, with `trajvit data tracks MANIFEST`.

  python train.py --config=configs/trajvit_clip.py \
    --config.data.train.manifest=videos.json --workdir=runs/trajvit

A smaller one: --config=configs/trajvit_clip.py:variant=S,frames=8
A larger one, its state cut over 16 devices: :batch_size=4096,fsdp=16
`packed=True` lets clips share rows of the encoder, see docs/packing.md.
"""

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
    fsdp=1,
  )
  config = common.videos_base(
    steps=arg.steps,
    batch_size=arg.batch_size,
    frames=arg.frames,
    size=arg.size,
  )
  config.mesh.fsdp = arg.fsdp
  if arg.packed:
    # A row holds the longest clip, and there are 51 slots for each on average.
    config.data.packing = dict(
      tokens="tracks",
      clips=arg.batch_size,
      rows=-(-3 * arg.batch_size // 8),
      length=136,
    )
  tokenizer = dict(name="trajectory", stem="resnet18", appearance_depth=4)
  config.model = common.videos_model(tokenizer, arg.variant)
  return config
