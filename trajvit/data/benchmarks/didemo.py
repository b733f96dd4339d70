"""DiDeMo, as paragraphs of videos."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import VIDEO_SUFFIXES, Record

_LISTS = {
  "train": "train_data.json",
  "validation": "val_data.json",
  "test": "test_data.json",
}
_SHOWN_SECONDS = 30.0  # annotators saw no more of a video


_PARAGRAPHS = (
  "a video's descriptions, joined in the order of the file, are its one "
  "caption, and its first 30 s the clip"
)
_RETRIEVAL = "t2v and v2t R@1/5/10 and median rank over"


class DiDeMo(VideoBenchmark):
  """DiDeMo: Flickr videos, some moments of the first 30 s described.

  Under `root`, the folder `data` of the release and the videos:

    train_data.json, val_data.json, test_data.json
                [{"video": name, "description", "times": [[first, last]]}]
    videos/     <name>, with its suffix or another one

  Source: Hendricks et al., arXiv:1708.01641, who have 8,395 videos to train on;
  paragraphs as in arXiv:1907.13487, who have 8,392 of them.
  """

  folders = ("videos", "DiDeMo_Videos")
  splits = {
    "train": Split(f"To train on: {_PARAGRAPHS}.", {}),
    "validation": Split(
      f"As the test: {_PARAGRAPHS}; {_RETRIEVAL} 1,065 videos.",
      {"clips": 1065, "files": 1065, "captions": 1065},
    ),
    "test": Split(
      f"The test: {_PARAGRAPHS}; {_RETRIEVAL} 1,004 videos.",
      {"clips": 1004, "files": 1004, "captions": 1004},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, listed = self.finder(root), root / _LISTS[split]
    descriptions = {}
    for i, entry in enumerate(read_json(listed, list)):
      where = f"{listed}, description {i}"
      name = name_inside(where, field(where, entry, "video", str))
      text = field(where, entry, "description", str)
      descriptions.setdefault(name, []).append(text)
    records = []
    for name, texts in descriptions.items():
      whole = pathlib.PurePosixPath(name)
      known = whole.suffix.lower() in VIDEO_SUFFIXES
      stem = str(whole.with_suffix("")) if known else name
      paragraph = nonblank([" ".join(nonblank(texts))])
      records.append(
        Record(path(stem, name), False, paragraph, end=_SHOWN_SECONDS)
      )
    return Listing(tuple(records))
