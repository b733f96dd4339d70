"""MSR-VTT, with the lists that text-to-video retrieval is measured on."""

import collections
import pathlib

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
  read_table,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_DATA = "MSRVTT_data.json"
_TEST_1K_A = "MSRVTT_JSFUSION_test.csv"
_LISTS = {"train_9k": "MSRVTT_train.9k.csv", "train_7k": "MSRVTT_train.7k.csv"}


class Msrvtt(VideoBenchmark):
  """MSR-VTT: 10,000 web clips of 10 to 30 s with 20 captions each.

  Under `root`, the lists as they are passed around with CLIP4Clip
  (arXiv:2104.08860), which may also lie in `root` itself:

    msrvtt_data/MSRVTT_JSFUSION_test.csv  columns video_id and sentence
    msrvtt_data/MSRVTT_train.9k.csv       column video_id; .7k the same
    msrvtt_data/MSRVTT_data.json          {"videos": [{"video_id", "split"}],
                                        "sentences": [{"video_id", "caption"}]}
    videos/                               video0.mp4 to video9999.mp4

  Source: Xu et al., CVPR 2016; the list 1k-A is of Yu et al., JSFusion,
  arXiv:1808.02559. That of 9,000 clips to train on is all others, that of 7,010
  the official training and validation clips.
  """

  folders = ("videos", "MSRVTT_Videos")
  splits = {
    "test_1k_a": Split(
      "The list 1k-A of JSFusion: t2v and v2t R@1/5/10 and median rank over "
      "1,000 clips, each with the one caption of the list.",
      {"clips": 1000, "files": 1000, "captions": 1000},
    ),
    "test_full": Split(
      "The official test clips: t2v R@1/5/10 and median rank of each of the "
      "59,800 captions as a query among 2,990 clips; v2t by the best ranked of "
      "a clip's 20 captions.",
      {"clips": 2990, "files": 2990, "captions": 59800},
    ),
    "train_9k": Split(
      "To train on for test_1k_a: all clips that are not in it, with all 20 "
      "captions.",
      {"clips": 9000, "files": 9000, "captions": 180000},
    ),
    "train_7k": Split(
      "To train on for either test: the official training and validation "
      "clips, with all 20 captions.",
      {"clips": 7010, "files": 7010, "captions": 140200},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path = self.finder(root)
    if split == "test_1k_a":
      rows = read_table(_list(root, _TEST_1K_A), ("video_id", "sentence"))
      captioned = [
        (name_inside(where, row["video_id"]), [row["sentence"]])
        for where, row in rows
      ]
    else:
      listed = _list(root, _DATA)
      data = read_json(listed, dict)
      captions = _captions(listed, data)
      if split == "test_full":
        names = _test_videos(listed, data)
      else:
        rows = read_table(_list(root, _LISTS[split]), ("video_id",))
        names = [(where, row["video_id"]) for where, row in rows]
      captioned = []
      for where, name in names:
        if name not in captions:
          raise ValueError(f"{where}: {listed} has no caption of {name}")
        captioned.append((name_inside(where, name), captions[name]))
    return Listing(
      tuple(Record(path(name), False, nonblank(x)) for name, x in captioned)
    )


def _list(root, name) -> pathlib.Path:
  return first_there(root, f"msrvtt_data/{name}", name)


def _captions(path, data) -> dict[str, list[str]]:
  """The captions of every video, in the order of the file."""
  captions = collections.defaultdict(list)
  for i, entry in enumerate(field(str(path), data, "sentences", list)):
    where = f"{path}, sentence {i}"
    caption = field(where, entry, "caption", str)
    captions[field(where, entry, "video_id", str)].append(caption)
  return dict(captions)


def _test_videos(path, data) -> list[tuple[str, str]]:
  """(where, name) of the videos whose official split is the test."""
  names = []
  for i, entry in enumerate(field(str(path), data, "videos", list)):
    where = f"{path}, video {i}"
    if field(where, entry, "split", str) == "test":
      names.append((where, field(where, entry, "video_id", str)))
  return names
