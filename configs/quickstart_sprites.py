r"""The quickstart's runs: one method each, all else equal, on moving sprites.

  python train.py --config=configs/quickstart_sprites.py:method=trajectory \
    --workdir=runs/trajectory

Chosen on the validation split, never on the test galleries. `packed=True` lets
clips share rows of the encoder; it changes no result, see docs/packing.md.
"""

from configs import common

# method -> (tokenizer, reducer before the encoder, pool, kind of tracks).
TRAJECTORY = dict(name="trajectory_light", stem_width=64)
VIT3D_128 = dict(name="tubelet", patch=(2, 16, 16))
VIT3D_256 = dict(name="tubelet", patch=(4, 8, 8))
METHODS = {
  "trajectory": (TRAJECTORY, None, "cls", "exact"),
  "trajectory_extracted": (TRAJECTORY, None, "cls", "extracted"),
  "vit3d_128": (VIT3D_128, None, "mean", "exact"),
  "vit3d_256": (VIT3D_256, None, "mean", "exact"),
  "random_k": (VIT3D_128, "random_k", "mean", "exact"),
  "uniform_k": (VIT3D_128, "uniform_k", "mean", "exact"),
}
# The mean number of trajectories in a clip, which the baselines keep.
MEAN_TRACKS = 7
# Slots for tracks: all exact ones fit, and nearly all of the extracted ones.
MAX_TRACKS = {"exact": 10, "extracted": 32}
# How the loader packs the clips of a method, class token included: as many
# slots as their tokens need. All clips of ViT3D need the same.
PACKING = {
  "trajectory": dict(tokens="tracks", clips=64, rows=6, length=88),
  "trajectory_extracted": dict(tokens="tracks", clips=64, rows=30, length=40),
  "vit3d_128": dict(tokens=128, clips=2, rows=1, length=2 * 129),
  "vit3d_256": dict(tokens=256, clips=2, rows=1, length=2 * 257),
}
# After a reducer only the encoder knows what is left: it plans itself.
REDUCED_PACKING = dict(clips=8, rows=1, length=8 * (MEAN_TRACKS + 1))


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES."""
  arg = common.parse_arg(
    arg, method="trajectory", packed=False, **common.SPRITES
  )
  common.check_choice("method", arg.method, METHODS)
  tokenizer, reducer, pool, tracks = METHODS[arg.method]
  config = common.sprites_base(arg, tracks)
  config.data.clip.max_tracks = MAX_TRACKS[tracks]
  config.model = common.sprites_model(tokenizer, pool)
  config.model.encoder.reducers = [
    reducer and dict(name=reducer, k=MEAN_TRACKS)
  ]
  if arg.packed and reducer:
    config.model.encoder.packing = REDUCED_PACKING
  elif arg.packed:
    config.data.packing = PACKING[arg.method]
  config.evals = common.sprites_retrieval(config)
  return config
