"""`trajvit draw RUN...`: which token owns what in a clip, over time."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trajvit.data.overlay import draw_tracks, legible, save_animation
from trajvit.evaluators.grouping import blind_assignment
from trajvit.evaluators.tubes import score
from trajvit.report.clips import (
  RunClips,
  check_same_clips,
  choose_evaluation,
  read_clips,
)
from trajvit.report.pictures import (
  Panel,
  animation,
  gray,
  match_labels,
  sheet,
  stamped,
)
from trajvit.training.config import MeshConfig
from trajvit.training.restore import restore_run
from trajvit.training.runtime import keep_compiled_programs
from trajvit.training.sharding import build_mesh, make_predict


@dataclasses.dataclass(frozen=True)
class GroupedClips(RunClips):
  """Clips of an evaluation, and what a run makes of them.

  Attributes:
    assignment: [B, T, h, w] integers, the token that owns a cell or -1.
  """

  assignment: np.ndarray


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument("runs", nargs="+", help="run directories")
  parser.add_argument("--out", required=True, help="folder for the pictures")
  parser.add_argument(
    "--eval",
    help="the evaluation whose clips are drawn; default: the first run's first "
    "one of grouping, or else its first",
  )
  parser.add_argument("--clips", type=int, default=4, help="how many")
  parser.add_argument(
    "--gif", action="store_true", help="also an animation of every clip"
  )


def run(args):
  """Writes the pictures and prints where they are."""
  runs, evaluation = [], args.eval
  for workdir in args.runs:
    runs.append(group_clips(workdir, evaluation, args.clips))
    evaluation = runs[0].evaluation
  for path in write_pictures(runs, args.out, gif=args.gif):
    print(f"written: {path}")


def group_clips(
  workdir: str | Path, evaluation: str | None, count: int
) -> GroupedClips:
  """Returns the first clips of an evaluation as the newest checkpoint has them.

  Args:
    workdir: of the run.
    evaluation: its key in the config; None = the first that is of grouping,
      else the first.
    count: how many clips; fewer come where the data has fewer or some of them
      cannot be read.

  Raises:
    FileNotFoundError: no run, or one without a checkpoint.
    ValueError: no such evaluation, none of the clips can be read, or the model
      gives no assignment.
  """
  name = Path(workdir).resolve().name
  try:
    restored = restore_run(workdir)
    keep_compiled_programs(restored.config.compilation_cache)
    evaluation = choose_evaluation(restored.config, evaluation, "grouping")
    batch, names = read_clips(restored.config, evaluation, count)
    predict = make_predict(restored.apply, build_mesh(MeshConfig()))
    assignment = blind_assignment(predict, restored.variables, batch)
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error
  return GroupedClips(name, restored.step, evaluation, names, batch, assignment)


def write_pictures(
  runs: Sequence[GroupedClips], out: str | Path, *, gif: bool = False
) -> list[Path]:
  """Writes <out>/<evaluation>_<number>.png for every clip, and with `gif` .gif.

  A row shows the frames of the clip, the next its tracks if it has any, and one
  a run which token owns what. Every region keeps its colour through the clip;
  where it overlaps a track, or without tracks a region of the first run, it has
  that one's colour as far as pairs go one to one.

  Returns:
    The paths.

  Raises:
    ValueError: the runs do not look at the same frames of the same clips.
  """
  for other in runs[1:]:
    check_same_clips(runs[0], other)
  out = Path(out)
  out.mkdir(parents=True, exist_ok=True)
  paths = []
  for row in np.flatnonzero(runs[0].batch.valid):
    panels = clip_panels(runs, row)
    path = out / f"{runs[0].evaluation}_{row}.png"
    Image.fromarray(sheet(panels)).save(path)
    paths.append(path)
    if gif:
      paths.append(path.with_suffix(".gif"))
      save_animation(paths[-1], animation(panels))
  return paths


def clip_panels(runs: Sequence[GroupedClips], row: int) -> list[Panel]:
  """Returns the panels of clip `row`: frames, tracks if there are any, runs."""
  panels = data_panels(runs[0], row)
  clip = runs[0].batch.clip
  frames = legible(clip.frames[row])
  reference = None if clip.tracks is None else clip.tracks[row]
  for run in runs:
    labels = run.assignment[row]
    detail = f"step {run.step}, {_count(labels)} tokens"
    if clip.tracks is not None:
      detail += f", VEQ {score(labels, clip.tracks[row]).veq:.2f}"
    if reference is None:
      reference = labels
    drawn = draw_tracks(gray(frames), match_labels(labels, reference))
    panels.append(Panel(run.run, detail, drawn))
  return panels


def data_panels(clips: RunClips, row: int) -> list[Panel]:
  """Returns the panels of the data: frames, and tracks if there are any."""
  clip = clips.batch.clip
  frames = legible(clip.frames[row])
  times = [f"{seconds:.2f} s" for seconds in clip.times[row]]
  title, detail = clips.names[row], f"{len(frames)} frames"
  panels = [Panel(title, detail, stamped(frames, times))]
  if clip.tracks is not None:
    detail = f"{_count(clip.tracks[row])} tracks"
    drawn = draw_tracks(gray(frames), clip.tracks[row])
    panels.append(Panel("tracks of the data", detail, drawn))
  return panels


def _count(labels: np.ndarray) -> int:
  return len(np.unique(labels[labels >= 0]))
