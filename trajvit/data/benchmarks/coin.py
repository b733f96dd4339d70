"""COIN: how people do things, task by task and step by step."""

import pathlib

from absl import logging

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  read_json,
  segment,
  shown,
)
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.class_names import readable
from trajvit.data.benchmarks.video_folder import find_media, media_by_stem
from trajvit.data.manifest import Record

_SUBSETS = {"train": "training", "test": "testing"}


class Coin(Benchmark):
  """COIN: 180 everyday tasks in instructional videos, and their 778 steps.

  Under `root`, as its script downloads:

    COIN.json                        {"database": {<YouTube id>: a video}}
    videos/<recipe_type>/<id>.mp4

  A video has "class", the task, "recipe_type", its number, "subset", training
  or testing, and "annotation", a list of steps with "id", "label" and
  "segment", from and to in seconds. Labels are the ranks of the numbers of all
  tasks, and of all steps. A task "ReplaceCDDriveWithSSD" is called "replace CD
  drive with SSD"; steps are phrases already. A step that ends before it begins
  is left out, and said. How many of the 46,354 steps are in which subset is not
  checked. Source: Tang et al., arXiv:1903.02874.
  """

  splits = {
    "train": Split("Training videos.", {"clips": 9030, "classes": 180}),
    "test": Split(
      "Testing videos, whole: top-1 accuracy of the task.",
      {"clips": 2797, "classes": 180},
    ),
    "train_steps": Split("Steps of the training videos.", {"classes": 778}),
    "test_steps": Split(
      "Steps of the testing videos, cut where they begin and end: top-1 "
      "accuracy of the step.",
      {"classes": 778},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the videos or steps of a subset, in the order of the file."""
    path = root / "COIN.json"
    videos = field(str(path), read_json(path, dict), "database", dict)
    entries = [
      (f"{path}, video {name!r}", name, video) for name, video in videos.items()
    ]
    part, _, steps = split.partition("_")
    names = _step_names(entries) if steps else _task_names(entries)
    labels = {key: label for label, key in enumerate(sorted(names))}
    folder = root / "videos"
    found = media_by_stem(folder)
    records, empty = [], 0
    for where, name, video in entries:
      if _subset(where, video) != _SUBSETS[part]:
        continue
      task = field(where, video, "recipe_type", int)
      name_inside(where, name)
      clip = find_media(found, name, folder / str(task))
      if not steps:
        records.append(Record(clip, False, label=labels[task]))
        continue
      for step in field(where, video, "annotation", list):
        start, end = segment(where, step.get("segment"))
        label = labels[_step_number(where, step)]
        if start < end:
          records.append(Record(clip, False, label=label, start=start, end=end))
        else:
          empty += 1
    if empty:
      logging.warning(
        "%s: %d steps end before they begin and are left out", *(path, empty)
      )
    return Listing(tuple(records), tuple(names[key] for key in labels))


def _subset(where, video) -> str:
  subset = field(where, video, "subset", str)
  if subset not in _SUBSETS.values():
    raise ValueError(
      f"{where}: expected the subset training or testing, got {shown(subset)}"
    )
  return subset


def _task_names(entries) -> dict[int, str]:
  return {
    field(where, video, "recipe_type", int): readable(
      field(where, video, "class", str)
    )
    for where, _, video in entries
  }


def _step_names(entries) -> dict[int, str]:
  return {
    _step_number(where, step): field(where, step, "label", str)
    for where, _, video in entries
    for step in field(where, video, "annotation", list)
  }


def _step_number(where, step) -> int:
  """The number of a step, which is written as a string."""
  value = field(where, step, "id", str)
  if not (value.isascii() and value.isdigit() and len(value) < 10):
    raise ValueError(f"{where}: expected a step's id to be a number: {value!r}")
  return int(value)
