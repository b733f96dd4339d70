"""LSMDC: clips of movies with what is told to blind people."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  name_inside,
  nonblank,
  read_table,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_LISTS = {
  "train": "LSMDC16_annos_training.csv",
  "validation": "LSMDC16_annos_val.csv",
  "test": "LSMDC16_challenge_1000_publictect.csv",
}
# Times are in the movie: they tell nothing of the file, which is the clip.
_COLUMNS = (
  "clip",
  "start_aligned",
  "end_aligned",
  "start_extracted",
  "end_extracted",
  "sentence",
)


class Lsmdc(VideoBenchmark):
  """LSMDC 2016: clips of some 5 s out of movies, with audio descriptions.

  Under `root`, tables of the release, of six fields between tabs and without a
  header, the first field the clip, the last one the sentence:

    LSMDC16_annos_training.csv
    LSMDC16_annos_val.csv
    LSMDC16_challenge_1000_publictect.csv   that name is the release's
    videos/                                 <movie>/<clip>.avi

  A clip that has several sentences is one clip with several captions. Source:
  Rohrbach et al., arXiv:1605.03705.
  """

  folders = ("videos", "LSMDC_Videos")
  suffix = ".avi"
  splits = {
    "train": Split("To train on.", {}),
    "validation": Split(
      "t2v and v2t R@1/5/10 and median rank over the validation movies.", {}
    ),
    "test": Split(
      "The retrieval list of the 2016 challenge: t2v and v2t R@1/5/10 and "
      "median rank over 1,000 clips with one sentence each.",
      {"clips": 1000, "files": 1000, "captions": 1000},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, captions = self.finder(root), {}
    for where, row in read_table(
      root / _LISTS[split],
      _COLUMNS,
      header=False,
      delimiter="\t",
      quoted=False,
    ):
      name = name_inside(where, row["clip"].strip())
      captions.setdefault(name, []).append(row["sentence"])
    return Listing(
      tuple(
        Record(path(name), False, nonblank(x)) for name, x in captions.items()
      )
    )
