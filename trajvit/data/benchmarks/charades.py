"""Charades: people at home, what they do and how they describe it."""

import pathlib
import re

from trajvit.data.benchmarks.annotations import (
  name_inside,
  nonblank,
  read_lines,
  read_table,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_CLASSES = pathlib.PurePath("Charades", "Charades_v1_classes.txt")
_CLASS = re.compile(r"c(\d{3}) (.*\S)")
_ACTION = re.compile(r"c(\d{3}) [\d.]+ [\d.]+")


class Charades(VideoBenchmark):
  """Charades: 30 s videos at home, with 157 actions and descriptions.

  Under `root`, Charades.zip and one of the sizes of the videos:

    Charades/Charades_v1_train.csv, Charades_v1_test.csv   columns id;
               descriptions, between semicolons; actions, "c092 11.9 21.2", a
               class and its seconds, between semicolons
    Charades/Charades_v1_classes.txt                       "c000 name" a line
    Charades_v1_480/                                       <id>.mp4

  A video is one clip: its classes are those of any of its actions, or none.
  Source: Sigurdsson et al., arXiv:1604.01753.
  """

  folders = ("Charades_v1_480", "Charades_v1")
  splits = {
    "train": Split(
      "To train on: 157 classes, several a video, and the descriptions.",
      {"clips": 7985, "files": 7985, "classes": 157},
    ),
    "test": Split(
      "The public test videos: mean average precision over 157 classes, "
      "several a video; or, with the descriptions, t2v and v2t R@1/5/10 where "
      "every description is a query.",
      {"clips": 1863, "files": 1863, "classes": 157},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, classes = self.finder(root), _classes(root / _CLASSES)
    rows = read_table(
      root / "Charades" / f"Charades_v1_{split}.csv",
      ("id", "descriptions", "actions"),
    )
    records = [
      Record(
        path(name_inside(where, row["id"])),
        False,
        nonblank(row["descriptions"].split(";")),
        labels=_labels(where, row["actions"], len(classes)),
      )
      for where, row in rows
    ]
    return Listing(tuple(records), classes)


def _classes(path) -> tuple[str, ...]:
  """The names of the classes, which must be numbered from 0."""
  names = []
  for where, line in read_lines(path):
    match = _CLASS.fullmatch(line)
    if not match or int(match[1]) != len(names):
      raise ValueError(
        f'{where}: expected "c{len(names):03d} name", got {line!r}'
      )
    names.append(match[2])
  return tuple(names)


def _labels(where, actions, count) -> tuple[int, ...]:
  """The classes of a video, each once, ascending."""
  labels = set()
  for action in nonblank(actions.split(";")):
    match = _ACTION.fullmatch(action)
    if not match or int(match[1]) >= count:
      raise ValueError(
        f'{where}: expected actions "c000 start end" of {count} classes, got '
        f"{action!r}"
      )
    labels.add(int(match[1]))
  return tuple(sorted(labels))
