"""LVU: what only a long part of a film tells."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  name_inside,
  read_lines,
  shown,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_CLASSES = {
  "relationship": 4,
  "way_speaking": 5,
  "scene": 6,
  "director": 10,
  "genre": 4,
  "writer": 10,
  "year": 9,
}
_PARTS = ("train", "val", "test")


class Lvu(VideoBenchmark):
  """LVU: seven classification tasks on scenes of films, minutes long.

  Under `root`:

    lvu_1.0/<task>/{train,val,test}.csv   the lists, as released
    videos/<YouTube id>.mp4               which everyone downloads on their own

  A line of a list, after its header, has fields between blanks: the label, its
  name, the YouTube id, and one more. Of the nine tasks relationship,
  way_speaking, scene, director, genre, writer and year are classification;
  like_ratio and view_count ask for a number, and are left out. Each split is
  <task>_<list>. How many videos a list has is not checked, as versions differ;
  the numbers of classes are those of the authors' script. The lists were not at
  hand when this was written: it follows the programs of several groups that
  read them. Source: Wu and Krahenbuhl, CVPR 2021.
  """

  folders = ("videos",)
  splits = {
    f"{task}_{part}": Split(
      f"The {part} list of {task}: top-1 accuracy of whole videos.",
      {"classes": classes},
    )
    for task, classes in _CLASSES.items()
    for part in _PARTS
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the videos, in the order of the list."""
    task, _, part = split.rpartition("_")
    lists = root / "lvu_1.0" / task
    rows = {x: _rows(lists / f"{x}.csv", _CLASSES[task]) for x in _PARTS}
    names = {row[0]: row[1] for x in _PARTS for row in rows[x]}
    video = self.finder(root)
    records = [
      Record(video(name), False, label=label) for label, _, name in rows[part]
    ]
    classes = range(max(names, default=-1) + 1)
    return Listing(tuple(records), tuple(names.get(x, str(x)) for x in classes))


def _rows(path, classes) -> list[tuple[int, str, str]]:
  """Returns (label, name, YouTube id) of the lines of a list."""
  rows = []
  for where, line in read_lines(path)[1:]:
    fields = line.split()
    if len(fields) < 4 or fields[0] not in map(str, range(classes)):
      raise ValueError(
        f"{where}: expected a label below {classes}, its name, a YouTube id "
        f"and one more field, got {shown(line)}"
      )
    label, *name, video, _ = fields
    name_inside(where, video)
    rows.append((int(label), " ".join(name).replace("_", " "), video))
  return rows
