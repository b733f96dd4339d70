r"""Token reduction on moving sprites: one method each, trained, all else equal.

  python train.py --config=configs/reduction_sprites.py:method=tome,kept=0.25 \
    --workdir=runs/tome

`method` is any reducer, which sits at the `place` input, middle or output, see
docs/token_reduction.md for where each belongs. At `place=pixels` it is a
tokenizer that looks at pixels; three methods are encoders of their own. `kept`
is the share of the 128 patches of 2 x 16 x 16 pixels that is left. Data, steps,
widths, text tower and optimizer are quickstart_sprites'.
"""

from configs import common

PATCH = (2, 16, 16)
GRID = (8, 4, 4)
PLACES = ("pixels", "input", "middle", "output")
# Encoders in which tokens come back, so that `kept` says how many work.
ENCODERS = ("lookup_vit", "mixture_of_depths", "token_learner_vit")
# Reducers with a loss of their own, which needs the objective `reduction`.
WITH_LOSS = ("stts_scores",)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES."""
  arg = common.parse_arg(
    arg, method="tome", kept=0.25, place="middle", **common.SPRITES
  )
  common.check_choice("place", arg.place, PLACES)
  if not 0 < arg.kept <= 1:
    raise ValueError(f"kept must be in (0, 1], got {arg.kept}")
  patches = GRID[0] * GRID[1] * GRID[2]
  kept = max(1, round(arg.kept * patches))
  config = common.sprites_base(arg)
  model = common.sprites_model(dict(name="tubelet", patch=PATCH), "mean")
  if arg.method in ENCODERS:
    changes = _encoder(arg.method, kept / patches)
  elif arg.place == "pixels":
    changes = {}
    model["tokenizer"] = dict(name=arg.method, patch=PATCH, k=kept)
  elif arg.place == "input":
    changes = dict(reducers=[dict(name=arg.method, k=kept)])
  else:
    # The class token is there by then, and is kept.
    reducer = dict(name=arg.method, k=kept + 1)
    changes = dict(reducers=[None, reducer])
    if arg.place == "middle":
      changes["stages"] = (1, model["encoder"]["depth"] - 1)
  model["encoder"] = model["encoder"] | changes
  config.model = model
  if arg.method in WITH_LOSS:
    config.objectives.reduction = dict(weight=1.0)
  config.evals = common.sprites_retrieval(config)
  return config


def _encoder(method, kept):
  """What makes an encoder one in which about a share of the patches works."""
  if method == "mixture_of_depths":
    return {method: dict(every=3, capacity=kept)}
  if method == "token_learner_vit":
    return dict(name=method, frame_tokens=max(1, round(kept * GRID[1] ** 2)))
  side = max(1, round(kept**0.5 * GRID[1]))
  return dict(name=method, budgets=((GRID[0], side, side),))
