r"""TrajAdapter: what a frozen encoder knows of motion, on moving sprites.

Source: TrajTok, arXiv:2602.22779. The class of a clip is the motion of the
sprite that its caption names first. A linear classifier reads it from the
encoder's patches (`adapter=patches`) or from trajectories of them. The encoder
is that of a finished run of quickstart_sprites, of which `method` says which:

  python train.py --config=configs/quickstart_sprites.py:method=vit3d_256 \
    --workdir=runs/vit3d_256
  python train.py \
    --config=configs/probe_sprites.py:encoder=runs/vit3d_256 \
    --workdir=runs/probe

Trajectories are the true ones (`tracks=exact`), ones found in the pixels
(`tracks=extracted`), or, with `segmenter=RUN`, those of a finished run of
trajtok_sprites that trained an encoder too: no tracks are read then.
"""

from configs import common, quickstart_sprites, trajtok_sprites

ADAPTERS = ("trajectories", "patches")
PATCHES = ("vit3d_128", "vit3d_256")
NUM_MOTIONS = 12
# Where each part stands in the model, and where in the run it comes from.
ENCODER = {
  "features/tokenizer": "tokenizer",
  "features/encoder": "encoder",
}
SEGMENTER = {"adapter/regions/segmenter": "tokenizer/segmenter"}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES.

  Raises:
    ValueError: no encoder, an unknown name, or a segmenter for patches.
  """
  arg = common.parse_arg(
    arg,
    encoder="",
    method="vit3d_256",
    adapter="trajectories",
    tracks="exact",
    segmenter="",
    **common.SPRITES,
  )
  common.check_choice("adapter", arg.adapter, ADAPTERS)
  common.check_choice("method", arg.method, PATCHES)
  if not arg.encoder:
    raise ValueError("encoder=RUN must name a finished run, see the docstring")
  if arg.segmenter and arg.adapter == "patches":
    raise ValueError("segmenter=RUN is for adapter=trajectories, got patches")
  heads = common.SPRITES_ENCODER["num_heads"]
  adapter = dict(name=arg.adapter)
  warm_start = [dict(workdir=arg.encoder, parts=ENCODER)]
  frozen = ["^features/"]
  if arg.adapter == "trajectories":
    adapter |= dict(num_heads=heads)
  if arg.segmenter:
    adapter["segmenter"] = dict(
      width=trajtok_sprites.SEGMENT_WIDTH,
      num_heads=heads,
      **trajtok_sprites.SEGMENTER,
    )
    warm_start.append(dict(workdir=arg.segmenter, parts=SEGMENTER))
    frozen.append("^adapter/regions/segmenter/")

  tracks = "none" if arg.segmenter else arg.tracks
  config = common.sprites_base(arg, tracks)
  if tracks == "extracted":
    config.data.clip.max_tracks = quickstart_sprites.MAX_TRACKS[tracks]
  tokenizer = quickstart_sprites.METHODS[arg.method][0]
  config.model = dict(
    name="probe",
    features=dict(
      name="encoder", tokenizer=tokenizer, encoder=common.SPRITES_ENCODER
    ),
    adapter=adapter,
    num_classes=NUM_MOTIONS,
    num_heads=heads,
  )
  config.objectives = dict(classification=dict(weight=1.0))
  config.warm_start = warm_start
  config.optimizer.frozen = frozen

  def on(name, *where):
    return common.sprites_eval(config, name, *where)

  config.evals = dict(
    validation=on("classification", "validation", 50),
    static=on("classification", "static"),
    moving=on("classification", "moving"),
    cost=on("cost", "static"),
  )
  return config
