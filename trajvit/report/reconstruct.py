"""`trajvit reconstruct RUN...`: what of a clip comes back from k tokens."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from trajvit.data.overlay import legible, save_animation
from trajvit.evaluators.made_frames import (
  check_budgets,
  made_and_true,
  with_budget,
)
from trajvit.pixels import LEVELS
from trajvit.report.clips import (
  RunClips,
  check_same_clips,
  choose_evaluation,
  read_clips,
)
from trajvit.report.pictures import Panel, sheet
from trajvit.training.config import MeshConfig, RunConfig
from trajvit.training.restore import restore_run
from trajvit.training.runtime import keep_compiled_programs
from trajvit.training.sharding import build_mesh, make_predict

EVALUATOR = "reconstruction"
_stored = jax.jit(made_and_true, static_argnums=1)


@dataclasses.dataclass(frozen=True)
class RemadeClips(RunClips):
  """Clips of an evaluation, and the frames that a run makes of their tokens.

  Attributes:
    made: budget, how many tokens of a step are read, or None for all -> frames
      [B, T, H, W, 3] uint8.
    tokens: budget -> how many that is, the mean over clips.
  """

  made: dict[int | None, np.ndarray]
  tokens: dict[int | None, float]


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument("runs", nargs="+", help="run directories")
  parser.add_argument("--out", required=True, help="folder for the pictures")
  parser.add_argument(
    "--eval",
    help="the evaluation whose clips are drawn; default: the first run's first "
    "one of reconstruction, or else its first",
  )
  parser.add_argument("--clips", type=int, default=4, help="how many")
  parser.add_argument(
    "--budgets",
    type=lambda text: tuple(map(int, text.split(","))),
    help="numbers of tokens, such as 1,2,4; default: those of each run's "
    "evaluation of reconstruction",
  )
  parser.add_argument(
    "--gif", action="store_true", help="also an animation of all frames"
  )


def run(args):
  """Writes the pictures and prints where they are."""
  runs = remake_for_all(args.runs, args.eval, args.clips, args.budgets)
  for path in write_pictures(runs, args.out, gif=args.gif):
    print(f"written: {path}")


def remake_for_all(
  workdirs: Sequence[str | Path],
  evaluation: str | None,
  count: int,
  budgets: Sequence[int] | None = None,
) -> list[RemadeClips]:
  """Returns `remake_clips` of each run, on the clips of the first one."""
  runs = []
  for workdir in workdirs:
    runs.append(remake_clips(workdir, evaluation, count, budgets))
    evaluation = runs[0].evaluation
  return runs


def remake_clips(
  workdir: str | Path,
  evaluation: str | None,
  count: int,
  budgets: Sequence[int] | None = None,
) -> RemadeClips:
  """Returns the first clips of an evaluation as the newest checkpoint has them.

  Args:
    workdir: of the run.
    evaluation: its key in the config; None = the first that is of
      reconstruction, else the first.
    count: how many clips; fewer come where the data has fewer or some of them
      cannot be read.
    budgets: numbers of first tokens, of every step of a clip; None = those of
      the run's first evaluation of reconstruction; without any, all tokens.

  Raises:
    FileNotFoundError: no run, or one without a checkpoint.
    ValueError: no such evaluation, none of the clips can be read, a budget
      below 1 or for tokens that are not nested, or the model makes no frames or
      such that are not finite.
  """
  name = Path(workdir).resolve().name
  try:
    restored = restore_run(workdir)
    config = restored.config
    keep_compiled_programs(config.compilation_cache)
    evaluation = choose_evaluation(config, evaluation, EVALUATOR)
    budgets = _own_budgets(config) if budgets is None else budgets
    budgets = check_budgets(budgets) or (None,)
    batch, names = read_clips(config, evaluation, count)
    predict = make_predict(restored.apply, build_mesh(MeshConfig()))
    made, tokens = {}, {}
    for budget in budgets:
      outputs = predict(restored.variables, with_budget(batch, budget))
      made[budget] = _levels(outputs, config.model, batch.valid)
      read = np.asarray(outputs["tokens"].mask)[batch.valid]
      tokens[budget] = float(read.sum(1).mean())
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error
  return RemadeClips(
    name, restored.step, evaluation, names, batch, made, tokens
  )


def write_pictures(
  runs: Sequence[RemadeClips], out: str | Path, *, gif: bool = False
) -> list[Path]:
  """Writes <out>/<evaluation>.png, and with `gif` <out>/<evaluation>.gif.

  A column is a clip. The first row has the originals, then comes one for every
  run and budget. The still picture shows the middle frame, the other all.

  Returns:
    The paths.

  Raises:
    ValueError: the runs do not look at the same frames of the same clips.
  """
  for other in runs[1:]:
    check_same_clips(runs[0], other)
  out = Path(out)
  out.mkdir(parents=True, exist_ok=True)
  clips, frames = runs[0].batch.clip.frames.shape[:2]
  path = out / f"{runs[0].evaluation}.png"
  middle = frame_panels(runs, frames // 2)
  Image.fromarray(sheet(middle, columns=clips)).save(path)
  if not gif:
    return [path]
  moving = [
    sheet(frame_panels(runs, time), columns=clips) for time in range(frames)
  ]
  save_animation(path.with_suffix(".gif"), np.stack(moving))
  return [path, path.with_suffix(".gif")]


def frame_panels(runs: Sequence[RemadeClips], time: int) -> list[Panel]:
  """Returns the panels of frame `time`: the clips, then each run's at each k.

  The frames of a panel, [clips, H, W, 3], are of one clip each.
  """
  batch = runs[0].batch
  rows = np.flatnonzero(batch.valid)
  detail = f"{len(rows)} clips of {runs[0].evaluation}"
  panels = [Panel("original", detail, legible(batch.clip.frames[rows, time]))]
  for run in runs:
    for budget, made in run.made.items():
      read = "all tokens" if budget is None else f"k = {budget}"
      detail = f"step {run.step}, {run.tokens[budget]:g} tokens a clip"
      title = f"{run.run}, {read}"
      panels.append(Panel(title, detail, legible(made[rows, time])))
  return panels


def _own_budgets(config: RunConfig) -> Sequence[int]:
  """Those of the first evaluation of reconstruction, () without one."""
  specs = [setting.spec for setting in config.evals.values()]
  specs = [spec for spec in specs if spec["name"] == EVALUATOR]
  return specs[0].get("budgets", ()) if specs else ()


def _levels(outputs, model, valid):
  """The frames that a model has made, [B, T, H, W, 3] uint8."""
  pair = {name: outputs.get(name) for name in ("frames", "target_frames")}
  made = np.asarray(_stored(pair, model.get("normalization", "symmetric"))[0])
  if not np.isfinite(made[valid]).all():
    raise ValueError("the frames that the model makes are not finite")
  return np.rint(np.nan_to_num(made) * LEVELS).astype(np.uint8)
