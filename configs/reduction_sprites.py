r"""Token reduction on moving sprites: one method each, trained, all else equal.

  python train.py --config=configs/reduction_sprites.py:method=tome,kept=0.25 \
    --workdir=runs/tome

`method` is any reducer, which sits where `trajvit bench reducers` puts it: at
the `input`, in the `middle` or at the `output`, or where `place` says. With
`place=pixels` it is a tokenizer that looks at pixels; three methods are
encoders of their own. `kept` is the share of the 128 patches of 2 x 16 x 16
pixels that is left. Data, steps, widths, text tower and optimizer are
quickstart_sprites'. See docs/token_reduction.md.
"""

from configs import common
from trajvit.bench.reducer_cases import CASES

PATCH = (2, 16, 16)
GRID = (8, 4, 4)
# Tokenizers that look at pixels.
PIXELS = ("dtd", "evs", "grt", "run_length", "vwt_intra")
# Encoders in which tokens come back, so that `kept` says how many work.
ENCODERS = ("lookup_vit", "mixture_of_depths", "token_learner_vit")
# Reducers with a loss of their own, which needs the objective `reduction`.
WITH_LOSS = ("stts_scores",)


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES."""
  arg = common.parse_arg(
    arg, method="tome", kept=0.25, place="", **common.SPRITES
  )
  if not 0 < arg.kept <= 1:
    raise ValueError(f"kept must be in (0, 1], got {arg.kept}")
  patches = GRID[0] * GRID[1] * GRID[2]
  kept = max(1, round(arg.kept * patches))
  config = common.sprites_base(arg)
  model = common.sprites_model(dict(name="tubelet", patch=PATCH), "mean")
  if arg.place == "pixels":
    common.check_choice("method", arg.method, PIXELS)
    model["tokenizer"] = dict(name=arg.method, patch=PATCH, k=kept)
  elif arg.method in ENCODERS:
    common.check_choice("place", arg.place, ("",))
    model["encoder"] = model["encoder"] | _encoder(arg.method, kept / patches)
  else:
    case = _case(arg.method, arg.place)
    spec = case.spec(kept + (case.place != "input"), GRID)
    depth = model["encoder"]["depth"]
    model["encoder"] = model["encoder"] | case.encoder(spec, depth)
  config.model = model
  if arg.method in WITH_LOSS:
    config.objectives.reduction = dict(weight=1.0)
  config.evals = common.sprites_retrieval(config)
  return config


def _case(method, place):
  """Where the benchmark has a reducer, first of all if `place` is empty."""
  places = {}
  for case in CASES:
    places.setdefault(case.name, {})[case.place] = case
  known = [*places, *ENCODERS]
  common.check_choice("method", method, known)
  cases = places[method]
  common.check_choice("place", place, ["", *cases])
  return cases[place] if place else next(iter(cases.values()))


def _encoder(method, kept):
  """What makes an encoder one in which about a share of the patches works."""
  if method == "mixture_of_depths":
    return {method: dict(every=3, capacity=kept)}
  if method == "token_learner_vit":
    tokens = max(1, round(kept * GRID[1] * GRID[2]))
    return dict(name=method, grid=GRID, frame_tokens=tokens)
  side = max(1, round((kept * GRID[1] * GRID[2]) ** 0.5))
  return dict(name=method, budgets=((GRID[0], side, side),))
