"""Breakfast: people in their own kitchens, seen by three to five cameras."""

import os
import pathlib
import re

from absl import logging

from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.video_folder import media_by_stem
from trajvit.data.manifest import Record

_FOLDER = "BreakfastII_15fps_qvga_sync"
_VIDEO = re.compile(r"P(\d\d)_([a-z]+)(?:_ch[01])?")
_NAMES = {  # in the files -> as the paper calls them
  "cereals": "bowl of cereals",
  "coffee": "coffee",
  "friedegg": "fried eggs",
  "juice": "orange juice",
  "milk": "chocolate milk",
  "pancake": "pancakes",
  "salat": "fruit salad",
  "sandwich": "sandwich",
  "scrambledegg": "scrambled eggs",
  "tea": "tea",
}
_LABELS = {name: label for label, name in enumerate(_NAMES)}
_PERSONS = {  # of each fold
  1: range(3, 16),
  2: range(16, 29),
  3: range(29, 42),
  4: range(42, 55),
}


class Breakfast(Benchmark):
  """Breakfast: 10 activities of 52 persons, four folds of persons.

  Under `root`:

    BreakfastII_15fps_qvga_sync/P03/cam01/P03_cereals.avi
    BreakfastII_15fps_qvga_sync/P03/stereo/P03_cereals_ch0.avi

  The release has no list of videos for this task: the folder is the list, and
  nothing is known to count it by. Papers on its segments have 1,712 videos, its
  page has 1,989, which seem to be with both channels of the stereo cameras.
  Here the first channel that is there stands for the pair. Fold n tests on the
  persons of s<n>, P03 to P15, to P28, to P41 and to P54, and trains on the
  others. Source: Kuehne et al., CVPR 2014.
  """

  splits = {
    f"{part}_{n}": Split(protocol, {})
    for n in _PERSONS
    for part, protocol in (
      ("train", f"All persons that are not in s{n}."),
      (
        "test",
        f"The persons in s{n}: top-1 accuracy of the activity of whole "
        "videos, whose mean over the four folds is the score.",
      ),
    )
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the videos, sorted by person, camera and activity."""
    part, fold = split.split("_")
    folder = root / _FOLDER
    videos, strange = _videos(folder)
    if not videos:
      raise ValueError(f"{folder}: expected P03/<camera>/P03_<activity>.avi")
    if strange:
      logging.warning(
        "%s: %d videos are of no known activity, such as %s",
        *(folder, len(strange), strange[0]),
      )
    records = [
      Record(path, False, label=_LABELS[activity])
      for (person, _, activity), path in videos.items()
      if (person in _PERSONS[int(fold)]) == (part == "test")
    ]
    return Listing(tuple(records), tuple(_NAMES.values()))


def _videos(folder) -> tuple[dict[tuple[int, str, str], str], list[str]]:
  """(person, camera, activity) -> path, sorted; and all other videos."""
  if not os.path.isdir(folder):
    raise ValueError(f"no folder {folder}")
  found, strange = {}, []
  for camera in sorted(folder.glob("P[0-9][0-9]/*/")):
    for stem, path in sorted(media_by_stem(camera).items()):
      match = _VIDEO.fullmatch(stem)
      if match and match[2] in _LABELS and camera.parent.name == f"P{match[1]}":
        found.setdefault((int(match[1]), camera.name, match[2]), path)
      else:
        strange.append(path)
  return dict(sorted(found.items())), strange
