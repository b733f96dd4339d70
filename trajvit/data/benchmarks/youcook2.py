"""YouCook2: the steps of cooking videos."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
  segment,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_LIST = pathlib.PurePath("annotations", "youcookii_annotations_trainval.json")
_SUBSETS = {"train": "training", "validation": "validation"}


class YouCook2(VideoBenchmark):
  """YouCook2: long cooking videos whose steps are described and timed.

  Under `root`, the folder YouCookII of the release:

    annotations/youcookii_annotations_trainval.json
        {"database": {id: {"subset": "training" or "validation",
         "annotations": [{"segment": [start, end], "sentence"}]}}}
    raw_videos/<subset>/<recipe>/<id>.mp4, .mkv or .webm

  Every step is a clip. Papers that leave out the videos that they could not
  get have fewer, such as 3,350 steps to test on. Source: Zhou et al.,
  arXiv:1703.09788.
  """

  folders = ("raw_videos",)
  splits = {
    "train": Split(
      "To train on: the steps of 1,333 videos, one sentence each.",
      {"clips": 10337, "files": 1333, "captions": 10337},
    ),
    "validation": Split(
      "The usual test: t2v and v2t R@1/5/10 and median rank over the 3,492 "
      "steps of 457 videos, one sentence each.",
      {"clips": 3492, "files": 457, "captions": 3492},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the steps of a split; see Benchmark."""
    path, records = self.finder(root), []
    videos = field(
      str(root / _LIST), read_json(root / _LIST, dict), "database", dict
    )
    for name, entry in videos.items():
      where = f"{root / _LIST}, {name}"
      if field(where, entry, "subset", str) != _SUBSETS[split]:
        continue
      video = path(name_inside(where, name))
      for i, step in enumerate(field(where, entry, "annotations", list)):
        place = f"{where}, step {i}"
        start, end = segment(place, field(place, step, "segment", list))
        if start >= end:
          raise ValueError(f"{place}: expected start < end, got {start}, {end}")
        captions = nonblank([field(place, step, "sentence", str)])
        records.append(Record(video, False, captions, start=start, end=end))
    return Listing(tuple(records))
