"""Kinetics-400, 600 and 700: ten seconds of YouTube each, one human action.

Under `root`, as the copy of the Common Visual Data Foundation unpacks:

  annotations/{train,val,test}.csv   label,youtube_id,time_start,time_end,split
  {train,val,test}/                  the videos

The lists may also lie in `root` itself, and be called validate.csv, as in the
archives of DeepMind. A video is <youtube_id>_<time_start>_<time_end>.mp4, times
in six digits. It lies in the folder of its split, or there in one of its class,
with the spaces of the class or with underscores in their place.

Every list of a year has lost other videos, so numbers of clips are only known
of one copy at a time. A clip of a list whose file is missing stays in the list.
"""

import os
import pathlib

from trajvit.data.benchmarks.annotations import (
  name_inside,
  number,
  read_table,
)
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.class_names import ranked
from trajvit.data.benchmarks.layouts import first_there, media_if_there
from trajvit.data.benchmarks.video_folder import media_by_stem
from trajvit.data.manifest import VIDEO_SUFFIXES, Record

_NAMES = {"train": ("train",), "val": ("val", "validate"), "test": ("test",)}
_COLUMNS = ("youtube_id", "time_start", "time_end")
_ID = 11  # letters of a YouTube id
_VIEWS = (
  "top-1 and top-5 accuracy, over 4 x 3 views (clips x crops) unless said"
)


class _Kinetics(Benchmark):
  """Reads a csv list; classes are the names in it, sorted.

  A list that lacks a class would number the others differently: the number of
  classes is therefore expected, also where that of the clips is not known.
  """

  replacements = ""  # a folder of videos that stand in for damaged ones

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips; those of a test list may have no labels."""
    names = _NAMES[split]
    path = first_there(
      root,
      *(f"annotations/{name}.csv" for name in names),
      *(f"{name}.csv" for name in names),
    )
    columns = _COLUMNS if split == "test" else ("label", *_COLUMNS)
    rows = read_table(path, columns)
    labels = ranked(row["label"] for _, row in rows if row.get("label"))
    folder = first_there(root, *names)
    found, spare = _videos(folder), self._spare(root)
    records = []
    for where, row in rows:
      name = row.get("label", "")
      if labels and not name:
        raise ValueError(f"{where}: expected a label, got none")
      stem = _stem(where, row)
      video = spare.get(row["youtube_id"]) or _find(found, name, stem, folder)
      records.append(Record(video, False, label=labels.get(name, -1)))
    return Listing(tuple(records), tuple(labels))

  def _spare(self, root) -> dict[str, str]:
    """YouTube id -> video that replaces a damaged one."""
    if not self.replacements:
      return {}
    spare = media_if_there(root / self.replacements)
    return {stem[:_ID]: path for stem, path in spare.items()}


def _stem(where, row) -> str:
  times = (number(where, key, row[key]) for key in ("time_start", "time_end"))
  start, end = map(int, times)
  return name_inside(where, f"{row['youtube_id']}_{start:06d}_{end:06d}")


def _videos(folder) -> dict[tuple[str, str], str]:
  """(class folder, stem) -> path; "" is the folder itself."""
  if not os.path.isdir(folder):
    raise ValueError(f"no folder {folder}")
  found = {}
  for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    stem, suffix = os.path.splitext(name)
    if os.path.isdir(path):
      media = media_by_stem(path)
      found |= {(name, stem): media[stem] for stem in media}
    elif suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
      found["", stem] = path
  return found


def _find(found, name, stem, folder) -> str:
  """The path of a clip of class `name`; of a missing one, as it should be."""
  plain = name.translate(str.maketrans(" ", "_", "'()"))
  for place in (name, plain, ""):
    if (place, stem) in found:
      return found[place, stem]
  return str(folder / f"{stem}.mp4")


class Kinetics400(_Kinetics):
  """Kinetics-400: ten-second clips of 400 human actions.

  The numbers are those of the lists of the Common Visual Data Foundation; the
  archive of DeepMind has fewer clips. Its stand-ins for damaged videos are used
  where they are: replacement/replacement_for_corrupted_k400/. All three lists
  have labels. Source: Kay et al., arXiv:1705.06950.
  """

  replacements = "replacement/replacement_for_corrupted_k400"
  splits = {
    "train": Split("The training list.", {"clips": 246534, "classes": 400}),
    "val": Split(
      f"The validation list: {_VIEWS}.", {"clips": 19906, "classes": 400}
    ),
    "test": Split(
      f"The test list: {_VIEWS}.", {"clips": 39805, "classes": 400}
    ),
  }


class Kinetics600(_Kinetics):
  """Kinetics-600: ten-second clips of 600 human actions.

  Numbers of clips are not checked: the paper, the archive of DeepMind and the
  copies differ. The train.csv and val.csv of the Common Visual Data Foundation
  are said to be incomplete there: take the lists of DeepMind. All three lists
  have labels. Source: Carreira et al., arXiv:1808.01340.
  """

  splits = {
    "train": Split("The training list.", {"classes": 600}),
    "val": Split(f"The validation list: {_VIEWS}.", {"classes": 600}),
    "test": Split(f"The test list: {_VIEWS}.", {"classes": 600}),
  }


class Kinetics700(_Kinetics):
  """Kinetics-700: ten-second clips of 700 human actions, of 2019 or 2020.

  Both editions have the same layout and neither's number of clips is checked,
  so say which one a score is of: the later one replaces what had vanished. The
  test list may be without labels, which are then -1. Source: Carreira et al.,
  arXiv:1907.06987, and Smaira et al., arXiv:2010.10864.
  """

  splits = {
    "train": Split("The training list.", {"classes": 700}),
    "val": Split(f"The validation list: {_VIEWS}.", {"classes": 700}),
    "test": Split("The test list, which may have no labels.", {}),
  }
