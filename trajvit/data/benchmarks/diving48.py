"""Diving48: competitive dives, told apart by how the body moves alone."""

import pathlib
import re

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  read_json,
  shown,
  typed,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_COUNT = re.compile(r"(\d)(\d?)(som|Twis)")
_KIND = {"som": "somersaults", "Twis": "twists"}


class Diving48(VideoBenchmark):
  """Diving48: 48 dives, of take-off, somersaults, twists and position.

  Under `root`:

    rgb/<vid_name>.mp4                  one dive each, already cut out
    Diving48_V2_{train,test}.json       a list of {"vid_name", "label", ...}
    Diving48_vocab.json                 the 48 classes, four words each

  or, as some tools arrange it, videos/ and annotations/ in place of rgb/ and
  `root`. These are the corrected labels, V2, of October 2020; scores on the
  first ones do not compare. A class such as ["Back", "15som", "05Twis", "FREE"]
  is called "back, 1.5 somersaults, 0.5 twists, free". Source: Li et al., ECCV
  2018.
  """

  folders = ("rgb", "videos")
  splits = {
    "train": Split("The training list, V2.", {"clips": 15027, "classes": 48}),
    "test": Split(
      "The test list, V2: top-1 accuracy, over 1 x 3 views (clips x crops) "
      "unless said.",
      {"clips": 1970, "classes": 48},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips, in the order of the list."""
    classes = _classes(_file(root, "Diving48_vocab.json"))
    path = _file(root, f"Diving48_V2_{split}.json")
    video, records = self.finder(root), []
    for n, entry in enumerate(read_json(path, list), 1):
      where = f"{path}, entry {n}"
      name = name_inside(where, field(where, entry, "vid_name", str))
      label = field(where, entry, "label", int)
      if not 0 <= label < len(classes):
        raise ValueError(
          f"{where}: expected a label below {len(classes)}, got {label}"
        )
      records.append(Record(video(name), False, label=label))
    return Listing(tuple(records), classes)


def _file(root, name) -> pathlib.Path:
  return first_there(root, name, f"annotations/{name}")


def _classes(path) -> tuple[str, ...]:
  classes = []
  for n, words in enumerate(read_json(path, list), 1):
    where = f"{path}, entry {n}"
    for word in typed(where, "the entry", words, list):
      typed(where, "a word of the entry", word, str)
    classes.append(", ".join(map(_phrase, words)))
  if len(set(classes)) < len(classes):
    raise ValueError(
      f"{path}: expected classes to differ, got {shown(classes)}"
    )
  return tuple(classes)


def _phrase(word) -> str:
  """ "1.5 somersaults" of "15som": the second digit is a decimal."""
  count = _COUNT.fullmatch(word)
  if count is None:
    return "no twists" if word == "NoTwis" else word.lower()
  whole, tenth, kind = count.groups()
  amount = f"{whole}.{tenth}" if tenth else whole
  return f"{amount} {_KIND[kind]}"
