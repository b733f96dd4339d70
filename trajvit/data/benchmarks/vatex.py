"""VATEX: clips of Kinetics-600 with ten English captions each."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
  strings,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_LISTS = {
  "train": "vatex_training_v1.0.json",
  "validation": "vatex_validation_v1.0.json",
  "public_test": "vatex_public_test_english_v1.1.json",
}


class Vatex(VideoBenchmark):
  """VATEX: 10 s clips of human activities with ten English captions each.

  Under `root`, the lists of the release, of which the Chinese captions are not
  read, and the clips, cut as those of Kinetics:

    vatex_training_v1.0.json
    vatex_validation_v1.0.json
    vatex_public_test_english_v1.1.json
                [{"videoID": "<id>_<start>_<end>", "enCap": [caption]}]
    videos/     <id>_<start>_<end>.mp4, times as six digits each

  Many of the videos cannot be had any more; papers tell how many they had, and
  some halve the validation clips, by a list that is not of the release.
  Source: Wang et al., arXiv:1904.03493.
  """

  folders = ("videos",)
  splits = {
    "train": Split(
      "To train on, with all ten English captions.",
      {"clips": 25991, "files": 25991, "captions": 259910},
    ),
    "validation": Split(
      "t2v R@1/5/10 and median rank of each of the ten English captions as a "
      "query among 3,000 clips; v2t by the best ranked of a clip's ten.",
      {"clips": 3000, "files": 3000, "captions": 30000},
    ),
    "public_test": Split(
      "t2v R@1/5/10 and median rank of each of the ten English captions as a "
      "query among 6,000 clips; v2t by the best ranked of a clip's ten.",
      {"clips": 6000, "files": 6000, "captions": 60000},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, listed, records = self.finder(root), root / _LISTS[split], []
    for i, entry in enumerate(read_json(listed, list)):
      where = f"{listed}, clip {i}"
      name = name_inside(where, field(where, entry, "videoID", str))
      captions = strings(where, "enCap", field(where, entry, "enCap", list))
      records.append(Record(path(name), False, nonblank(captions)))
    return Listing(tuple(records))
