"""The pictures of a page that take checkpoints, drawn run by run."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from trajvit.data.overlay import legible, save_animation
from trajvit.report import draw, masks, reconstruct
from trajvit.report.clips import (
  RunClips,
  check_same_clips,
  choose_evaluation,
  read_clips,
)
from trajvit.report.page import Picture, Section
from trajvit.report.pictures import Panel, sheet, stamped
from trajvit.report.runs import Run, names_of
from trajvit.training.config import read_config
from trajvit.training.workdir import read_run_config


def drawn_sections(runs: list[Run], clips: int) -> list[Section]:
  """Returns trajectories, attention masks and reconstructions.

  What cannot be drawn of a run is said, with the reason. Runs that look at
  other frames or clips have pictures of their own.

  Args:
    runs: with checkpoints.
    clips: how many to draw, the first ones of an evaluation.
  """
  sections = [_trajectories(runs, clips), _masks(runs), _remade(runs, clips)]
  return [one for one in sections if one.pictures or one.notes]


def _trajectories(runs, clips) -> Section:
  """What tokens own; those that are tracks of the data are drawn as such."""
  reading = [run for run in runs if run.reads_tracks]
  found, notes = _tried(
    [run for run in runs if not run.reads_tracks],
    lambda run: draw.group_clips(run.path, None, clips),
  )
  drawn = [(alike, draw.clip_panels) for alike in _alike(found)]
  if reading:
    names = ", ".join(names_of(reading))
    notes.insert(0, f"Tokens are the tracks of the data: {names}.")
  if reading and not found:
    drawn = [([_as_read(reading[0], clips)], _tracks_of_data)]
  pictures = []
  for number, (alike, panels_of) in enumerate(drawn):
    for row in np.flatnonzero(alike[0].batch.valid):
      name = f"trajectories_{number}_{alike[0].evaluation}_{row}.png"
      names = ", ".join(one.run for one in alike)
      caption = f"{alike[0].names[row]}: which token owns what, {names}"
      image = sheet(panels_of(alike, row))
      pictures.append(Picture(name, caption, _png(image)))
  return Section("Trajectories", pictures, notes)


def _as_read(run: Run, count: int) -> RunClips:
  """The first clips of a run's first evaluation of grouping, or of any."""
  config = read_config(read_run_config(run.path))
  key = choose_evaluation(config, None, "grouping")
  batch, names = read_clips(config, key, count)
  return RunClips(run.path.name, run.metrics[-1]["step"], key, names, batch)


def _tracks_of_data(alike, row):
  return draw.data_panels(alike[0], row)


def _masks(runs) -> Section:
  found, same = {}, {}
  for run in runs:
    for part, allowed in masks.masks_of(run.path).items():
      image = _png(masks.draw(allowed))
      found.setdefault((part, image), allowed)
      same.setdefault((part, image), []).append(run.path.name)
  pictures = []
  for number, ((part, image), allowed) in enumerate(found.items()):
    names = ", ".join(same[part, image])
    size, share = len(allowed), 100 * allowed.mean()
    caption = f"{names}: {part}, {size} tokens; {share:.0f}% of pairs meet"
    pictures.append(Picture(f"mask_{number}.png", caption, image))
  note = "A row is a token that reads, dark are the tokens that it reads."
  return Section("Attention masks", pictures, [note] if pictures else ())


def _remade(runs, clips) -> Section:
  making = [run for run in runs if run.evaluated_by(reconstruct.EVALUATOR)]
  found, notes = _tried(
    making, lambda run: reconstruct.remake_clips(run.path, None, clips)
  )
  pictures = []
  for number, alike in enumerate(_alike(found)):
    for row in np.flatnonzero(alike[0].batch.valid):
      frames = alike[0].batch.clip.frames.shape[1]
      columns = 1 + max(len(run.made) for run in alike)
      sheets = [
        sheet(_budget_panels(alike, row, time, columns), columns=columns)
        for time in range(frames)
      ]
      name = f"reconstructions_{number}_{alike[0].evaluation}_{row}"
      still = f"{alike[0].names[row]}: the middle frame"
      moving = f"{alike[0].names[row]}: all frames"
      pictures += [
        Picture(f"{name}.png", still, _png(sheets[frames // 2])),
        Picture(f"{name}.gif", moving, _gif(np.stack(sheets))),
      ]
  return Section("Reconstructions", pictures, notes)


def _budget_panels(alike, row, time, columns) -> list[Panel]:
  """A panel a run: the clip at a time, and what comes back at each budget."""
  panels = []
  for run in alike:
    original = run.batch.clip.frames[row, time]
    frames = legible(
      np.stack([original, *[x[row, time] for x in run.made.values()]])
    )
    texts = ["original"] + [
      "all tokens" if budget is None else f"k = {budget}" for budget in run.made
    ]
    frames = stamped(frames, texts)
    missing = ((0, columns - len(frames)), *[(0, 0)] * 3)
    frames = np.pad(frames, missing, constant_values=255)
    panels.append(Panel(run.run, f"step {run.step}", frames))
  return panels


def _tried(
  runs: list[Run], make: Callable[[Run], RunClips]
) -> tuple[list[RunClips], list[str]]:
  """What `make` returns for the runs that it can, and why not for others."""
  found, notes = [], []
  for run in runs:
    try:
      found.append(make(run))
    except (ValueError, FileNotFoundError) as error:
      notes.append(f"Left out: {error}.")
  return found, notes


def _alike(found: Sequence[RunClips]) -> list[list[RunClips]]:
  """Runs put together that look at the same frames of the same clips."""
  groups = []
  for one in found:
    for group in groups:
      try:
        check_same_clips(group[0], one)
      except ValueError:
        continue
      group.append(one)
      break
    else:
      groups.append([one])
  return groups


def _png(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "png", optimize=True)
  return buffer.getvalue()


def _gif(images: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  save_animation(buffer, images)
  return buffer.getvalue()
