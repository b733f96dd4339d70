"""ActivityNet Captions, as paragraphs of videos or as sentences of segments."""

import pathlib
from collections.abc import Iterator

from absl import logging

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
  segment,
  strings,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_SEGMENTS = "_segments"
_PARAGRAPHS = (
  "a video's sentences, joined in order of time, are its one caption"
)
_SENTENCES = "every described segment is a clip with one caption"
_RETRIEVAL = "t2v and v2t R@1/5/10 and median rank over"


def _videos_split(protocol: str, videos: int) -> Split:
  counts = {"clips": videos, "files": videos, "captions": videos}
  return Split(protocol, counts)


class ActivityNetCaptions(VideoBenchmark):
  """ActivityNet Captions: videos of some 2 min, described sentence by sentence.

  Under `root`, as captions.zip unpacks:

    train.json, val_1.json, val_2.json   {"v_<id>": {"duration": seconds,
                               "timestamps": [[start, end]],
                               "sentences": [sentence]}}
    videos/                    v_<id>.mp4, or <id>.mp4

  val_2 describes videos of val_1 once more, by other people; figures in papers
  are on val_1. The splits `*_segments` are the sentences by themselves: a
  segment begins at 0 at the earliest, and those that end before they begin are
  left out, with a warning that counts them. Source: Krishna et al.,
  arXiv:1705.00754; the paragraphs are the protocol of Zhang et al.,
  arXiv:1810.07212.
  """

  folders = ("videos", "Activity_Videos")
  splits = {
    "train": _videos_split(f"To train on: {_PARAGRAPHS}.", 10009),
    "val_1": _videos_split(
      f"The usual test: {_PARAGRAPHS}; {_RETRIEVAL} 4,917 videos.", 4917
    ),
    "val_2": _videos_split(
      f"As val_1, of other annotators: {_PARAGRAPHS}; {_RETRIEVAL} 4,885 "
      "videos.",
      4885,
    ),
    "train_segments": Split(f"To train on: {_SENTENCES}.", {"clips": 37417}),
    "val_1_segments": Split(
      f"Segments: {_SENTENCES}; {_RETRIEVAL} 17,505 segments.",
      {"clips": 17505},
    ),
    "val_2_segments": Split(
      f"Segments, of other annotators: {_SENTENCES}; {_RETRIEVAL} 17,031 "
      "segments.",
      {"clips": 17031},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split; see Benchmark."""
    path, records, reversed_times = self.finder(root), [], 0
    listed = root / f"{split.removesuffix(_SEGMENTS)}.json"
    for name, sentences in _videos(listed):
      video = path(name, name.removeprefix("v_"))
      if not split.endswith(_SEGMENTS):
        ordered = sorted(sentences, key=lambda x: x[0])  # ties as in the file
        paragraph = " ".join(nonblank(sentence for _, _, sentence in ordered))
        records.append(Record(video, False, nonblank([paragraph])))
        continue
      for start, end, sentence in sentences:
        start = max(start, 0.0)
        if start < end:
          records.append(
            Record(video, False, nonblank([sentence]), start=start, end=end)
          )
        else:
          reversed_times += 1
    if reversed_times:
      logging.warning(
        "%s: %d segments end before they begin and are left out",
        *(listed, reversed_times),
      )
    return Listing(tuple(records))


def _videos(path) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
  """Yields the name of every video and its (start, end, sentence)."""
  for name, entry in read_json(path, dict).items():
    where = f"{path}, {name}"
    name_inside(where, name)
    times = field(where, entry, "timestamps", list)
    sentences = strings(where, "sentences", entry.get("sentences"))
    if len(times) != len(sentences):
      raise ValueError(
        f"{where}: expected a sentence a segment, got {len(sentences)} for "
        f"{len(times)}"
      )
    yield (
      name,
      [
        (*segment(where, time, negative=True), sentence)
        for time, sentence in zip(times, sentences, strict=True)
      ],
    )
