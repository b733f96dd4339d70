"""HMDB51: human motion from films and the web."""

import pathlib

from trajvit.data.benchmarks.annotations import name_inside, read_lines
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.class_names import readable
from trajvit.data.benchmarks.layouts import media_if_there
from trajvit.data.benchmarks.video_folder import find_media
from trajvit.data.manifest import Record

_LISTS = "testTrainMulti_7030_splits"
_UNUSED, _TRAIN, _TEST = "0", "1", "2"
_VIEWS = "top-1 accuracy, over 5 x 3 views (clips x crops) unless said"


class Hmdb51(Benchmark):
  """HMDB51: 51 human motions, three splits of 70 and 30 clips a class.

  Under `root`, after the archive of each class is unpacked as well:

    hmdb51_org/<class>/<video>.avi, or <class>/<video>.avi
    testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt

  A line of a list is "<video>.avi <use>": 1 for training, 2 for test, 0 for
  neither. Classes are sorted by name, and "brush_hair" is "brush hair".
  Source: Kuehne et al., ICCV 2011.
  """

  splits = {
    f"{part}_{n}": Split(protocol, {"clips": clips, "classes": 51})
    for n in (1, 2, 3)
    for part, protocol, clips in (
      ("train", f"Training list {n} of 3.", 3570),
      (
        "test",
        f"Test list {n} of 3: {_VIEWS}; the score is often the mean "
        "over the three.",
        1530,
      ),
    )
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips, class by class, in the order of its list."""
    part, number = split.split("_")
    wanted = _TRAIN if part == "train" else _TEST
    ending = f"_test_split{number}.txt"
    videos = root / "hmdb51_org"
    videos = videos if videos.is_dir() else root
    lists = sorted((root / _LISTS).glob(f"*{ending}"))
    if not lists:
      raise ValueError(f"{root / _LISTS}: expected lists *{ending}, found none")
    classes = [path.name.removesuffix(ending) for path in lists]
    records = []
    for label, (path, name) in enumerate(zip(lists, classes, strict=True)):
      folder = videos / name
      found = media_if_there(folder)
      for file in _chosen(path, wanted):
        video = find_media(found, file.stem, folder, file.suffix)
        records.append(Record(video, False, label=label))
    return Listing(tuple(records), tuple(map(readable, classes)))


def _chosen(path, wanted) -> list[pathlib.PurePosixPath]:
  """The files of a list that have the use `wanted`."""
  chosen = []
  for where, line in read_lines(path):
    name, *use = line.rsplit(maxsplit=1)
    if use not in ([_UNUSED], [_TRAIN], [_TEST]):
      raise ValueError(f"{where}: expected a file and 0, 1 or 2, got {line!r}")
    name_inside(where, name)
    if use == [wanted]:
      chosen.append(pathlib.PurePosixPath(name))
  return chosen
