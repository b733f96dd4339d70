"""UCF101: sport, music and everyday actions from YouTube."""

import pathlib

from trajvit.data.benchmarks.annotations import name_inside, read_lines
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.class_names import readable
from trajvit.data.benchmarks.video_folder import find_media, media_by_stem
from trajvit.data.manifest import Record

_VIEWS = "top-1 accuracy, over 5 x 3 views (clips x crops) unless said"
_CLIPS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}


class Ucf101(Benchmark):
  """UCF101: 101 human actions, three splits into training and test.

  Under `root`:

    UCF-101/<class>/v_<class>_g<group>_c<clip>.avi
    ucfTrainTestlist/classInd.txt           "<number from 1> <class>" a line
    ucfTrainTestlist/trainlist0{1,2,3}.txt  "<class>/<file>.avi <number>" a line
    ucfTrainTestlist/testlist0{1,2,3}.txt   "<class>/<file>.avi" a line

  Class names are split into words: "ApplyEyeMakeup" is "apply eye makeup".
  Source: Soomro et al., arXiv:1212.0402.
  """

  splits = {
    f"{part}_{n}": Split(protocol, {"clips": clips, "classes": 101})
    for n, (train, test) in _CLIPS.items()
    for part, protocol, clips in (
      ("train", f"Training list {n} of 3.", train),
      (
        "test",
        f"Test list {n} of 3: {_VIEWS}; the score is often the mean "
        "over the three.",
        test,
      ),
    )
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips, in the order of the list."""
    lists = root / "ucfTrainTestlist"
    labels = _numbered(lists / "classInd.txt")
    part, number = split.split("_")
    folder = root / "UCF-101"
    found = media_by_stem(folder)
    records = []
    for where, line in read_lines(lists / f"{part}list0{number}.txt"):
      name, *rest = line.split()
      path = pathlib.PurePosixPath(name_inside(where, name))
      label = labels.get(path.parent.name, -1)
      if label < 0 or rest not in ([], [str(label + 1)]):
        raise ValueError(
          f"{where}: expected a file in the folder of its class and the number "
          f"of that class, got {line!r}"
        )
      video = find_media(found, path.stem, folder / path.parent, path.suffix)
      records.append(Record(video, False, label=label))
    return Listing(tuple(records), tuple(map(readable, labels)))


def _numbered(path) -> dict[str, int]:
  """Class -> label, of lines "<label + 1> <class>" in that order."""
  labels = {}
  for where, line in read_lines(path):
    number, *name = line.split()
    if number != str(len(labels) + 1) or len(name) != 1 or name[0] in labels:
      raise ValueError(
        f"{where}: expected {len(labels) + 1} and another class, got {line!r}"
      )
    labels[name[0]] = len(labels)
  return labels
