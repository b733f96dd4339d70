r"""TrajTok on one's own videos: TrajViT2, whose trajectories are learned.

Source: TrajTok, arXiv:2602.22779; the stem is a ConvNeXt in DINOv3's shape,
arXiv:2508.10104. Videos, text tower and optimizer are those of trajvit_clip,
and so is where tracks come from: grouping learns from them, nothing reads them
once it has. Three runs, the last of which starts from the first:

  python train.py --config=configs/trajtok_clip.py:objectives=grouping \
    --config.data.train.manifest=videos.json --workdir=runs/segmenter
  python train.py --config=configs/trajtok_clip.py \
    --config.data.train.manifest=videos.json --workdir=runs/trajtok
  python train.py \
    --config=configs/trajtok_clip.py:segmenter=runs/segmenter \
    --config.data.train.manifest=videos.json --workdir=runs/trajtok_warm

`objectives=contrastive` needs no tracks, and `freeze=True` with it keeps a
segmenter from elsewhere as it is. We differ from the release in the perceivers'
positions, and in that features know their place: `position="rotary_1d"` and
`add_position=False` in SEGMENTER, without "place" among its PARTS, restore it.
"""

from configs import common

# Of the segmenter, and of the resampler that makes tokens of what it finds.
WIDTH = 512
SEGMENTER = dict(
  stem=dict(name="convnext", variant="small", remat="full"),
  num_slots=128,
  num_heads=8,
  depth=2,
)
# What a segmenter takes from one trained alone, whose second pair of heads, for
# pixels, stays behind.
PARTS = (
  "stem",
  "place",
  "latents",
  "perceiver",
  "slot_head",
  "cell_head",
  "log_scale",
)
CONTRASTIVE = dict(weight=1.0)
OBJECTIVES = {
  "joint": dict(
    contrastive=CONTRASTIVE, grouping=dict(weight=1.0, dice=1.0, focal=0.5)
  ),
  "contrastive": dict(contrastive=CONTRASTIVE),
  "grouping": dict(
    grouping=dict(weight=1.0, dice=2.0, focal=1.0, high_resolution=1.0)
  ),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below.

  Raises:
    ValueError: unknown objectives, or a segmenter that could not be used so.
  """
  arg = common.parse_arg(
    arg,
    objectives="joint",
    segmenter="",
    freeze=False,
    variant="L",
    steps=100_000,
    batch_size=64,
    frames=16,
    size=224,
  )
  common.check_choice("objectives", arg.objectives, OBJECTIVES)
  if arg.segmenter and arg.objectives == "grouping":
    raise ValueError("segmenter=RUN is for a run with an encoder, not grouping")
  if arg.freeze and not (arg.segmenter and arg.objectives == "contrastive"):
    raise ValueError(
      "freeze=True keeps a trained segmenter, which grouping could not teach: "
      "it needs segmenter=RUN,objectives=contrastive"
    )
  config = common.videos_base(
    steps=arg.steps,
    batch_size=arg.batch_size,
    frames=arg.frames,
    size=arg.size,
  )
  config.objectives = OBJECTIVES[arg.objectives]
  if arg.objectives == "grouping":
    return _segmenter_alone(config)
  if arg.objectives == "contrastive":
    config.data.train.tracks = "none"
  tokenizer = dict(
    name="trajtok", segment_width=WIDTH, freeze=arg.freeze, **SEGMENTER
  )
  config.model = common.videos_model(tokenizer, arg.variant)
  if arg.segmenter:
    config.warm_start = dict(
      workdir=arg.segmenter,
      parts={f"tokenizer/segmenter/{x}": f"segmenter/{x}" for x in PARTS},
    )
  if arg.freeze:
    config.optimizer.frozen = ("^tokenizer/segmenter/",)
  return config


def _segmenter_alone(config):
  """Pre-training from tracks, whose pixels have logits as well as its cells."""
  config.data.clip.track_grid = config.data.clip.size
  del config.data["text"]
  config.model = dict(
    name="segmenter",
    width=WIDTH,
    high_resolution=True,
    normalization="imagenet",
    dtype="bfloat16",
    **SEGMENTER,
  )
  # Logits of pixels are what fills the memory. No clip has to meet another one
  # here, so that some at a time will do.
  config.optimizer.accumulate_steps = 8
  return config
