r"""Patches that changed against all patches, on moving sprites of fine patches.

  python train.py \
    --config=configs/run_length_sprites.py:method=rlt,camera=still,packed=True \
    --workdir=runs/rlt_still

`method` is rlt (run-length tokens, arXiv:2411.05222) or dense (all 512 patches
of 2 x 8 x 8 pixels), the camera `still` or `shake` in all clips. `packed=True`
lets clips share rows of the encoder, without which fewer tokens save no time.
See docs/run_length.md.
"""

from configs import common

PATCH = (2, 8, 8)
# In units of normalised pixels, as published: about 6 of 255 levels, above what
# the sensor noise of the sprites makes.
THRESHOLD = 0.1
NORMALIZATION = "imagenet"
METHODS = {
  "rlt": dict(name="run_length", patch=PATCH, threshold=THRESHOLD),
  "dense": dict(name="tubelet", patch=PATCH),
}
CAMERAS = ("still", "shake")
# How the loader packs, class token included: as many slots as are needed. All
# clips of the dense method need the same, and most of a camera that shakes.
WHOLE = dict(clips=1, rows=1, length=513)
PACKING = {
  "still": dict(clips=64, rows=21, length=513),
  "shake": WHOLE,
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES.

  `lengths` adds the embedding of the run length to the tokens of rlt.
  """
  arg = common.parse_arg(
    arg,
    method="rlt",
    camera="still",
    packed=False,
    lengths=False,
    **common.SPRITES,
  )
  common.check_choice("method", arg.method, METHODS)
  common.check_choice("camera", arg.camera, CAMERAS)
  tokenizer = dict(METHODS[arg.method])
  if arg.lengths:
    tokenizer["lengths"] = True
  config = common.sprites_base(arg)
  config.data.train.camera = arg.camera
  config.model = common.sprites_model(tokenizer, "mean")
  config.model.normalization = NORMALIZATION
  if arg.packed and arg.method == "dense":
    config.data.packing = dict(tokens=512, **WHOLE)
  elif arg.packed:
    config.data.packing = dict(
      tokens="run_length",
      run_length=dict(
        patch=PATCH, threshold=THRESHOLD, normalization=NORMALIZATION
      ),
      **PACKING[arg.camera],
    )
  # The other splits are about cameras of their own.
  evals = common.sprites_retrieval(config)
  config.evals = {name: evals[name] for name in ("validation", "hard", "cost")}
  for evaluation in config.evals.values():
    evaluation.data.camera = arg.camera
  return config
