"""MSVD: short clips that many people have described."""

import collections
import pathlib

from trajvit.data.benchmarks.annotations import (
  name_inside,
  nonblank,
  read_lines,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_CAPTIONS = "AllVideoDescriptions.txt"
_LISTS = {
  "train": "train_list.txt",
  "validation": "val_list.txt",
  "test": "test_list.txt",
}


class Msvd(VideoBenchmark):
  """MSVD: 1,970 clips of 1 to 60 s with some 40 captions each.

  Under `root`:

    AllVideoDescriptions.txt   "clip caption" a line, # begins a comment
    msvd_data/train_list.txt, val_list.txt, test_list.txt   a clip a line; they
                               may also lie in `root` itself
    YouTubeClips/              <clip>.avi

  The captions and the clips are the release's. The lists are those of
  Venugopalan et al., arXiv:1412.4729, as they are passed around with CLIP4Clip;
  the captions in pickled form that come with these lists are not read. Source:
  Chen and Dolan, ACL 2011.
  """

  folders = ("YouTubeClips", "MSVD_Videos")
  suffix = ".avi"
  splits = {
    "train": Split(
      "To train on, with all English captions.", {"clips": 1200, "files": 1200}
    ),
    "validation": Split(
      "As the test, over 100 clips.", {"clips": 100, "files": 100}
    ),
    "test": Split(
      "t2v R@1/5/10 and median rank of every caption as a query among 670 "
      "clips; v2t by the best ranked of a clip's captions.",
      {"clips": 670, "files": 670},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, captions = self.finder(root), collections.defaultdict(list)
    for where, line in read_lines(root / _CAPTIONS):
      if line.startswith("#"):
        continue
      name, _, caption = line.partition(" ")
      if not caption:
        raise ValueError(f'{where}: expected "clip caption", got {line!r}')
      captions[name].append(caption)
    records = []
    places = (f"msvd_data/{_LISTS[split]}", _LISTS[split])
    for where, name in read_lines(first_there(root, *places)):
      if name not in captions:
        raise ValueError(
          f"{where}: {root / _CAPTIONS} has no caption of {name}"
        )
      clip = path(name_inside(where, name))
      records.append(Record(clip, False, nonblank(captions[name])))
    return Listing(tuple(records))
