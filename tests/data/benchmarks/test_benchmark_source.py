"""A benchmark in a config: its clips are read, and what is missing counted."""

import benchmark_layouts
import numpy as np
import pytest

from trajvit.data.build import build_loader
from trajvit.data.decode import write_video

DATA = dict(
  batch_size=2,
  clip=dict(frames=2, size=32, track_grid=8, max_tracks=4),
  text=dict(name="bytes", length=40),
  loader=dict(num_threads=0),
)


def _source(root, **options):
  return dict(
    name="benchmark",
    benchmark="msrvtt",
    root=str(root),
    split="test_1k_a",
    tracks="none",
    **options,
  )


def test_an_evaluation_reads_what_is_there_and_counts_the_rest(tmp_path):
  benchmark_layouts.msrvtt(tmp_path)
  video = next(tmp_path.rglob("video9770.*"))
  video.unlink()
  frames = np.full((8, 32, 32, 3), 90, np.uint8)
  write_video(video.with_suffix(".mp4"), frames, 8)
  source = _source(tmp_path, counts=False)
  loader = build_loader({**DATA, "train": source}, source, seed=0)
  ((batch, info),) = loader.evaluate()
  assert batch.valid.tolist() == [True, False]
  assert abs(int(batch.clip.frames[0].mean()) - 90) < 4
  assert batch.text.mask[0].any() and not batch.text.mask[1].any()
  ((name, reason),) = info.skipped
  assert name.endswith("video9771.mp4") and "empty" in reason


def test_another_list_than_the_known_one_is_refused(tmp_path):
  benchmark_layouts.msrvtt(tmp_path)
  source = _source(tmp_path)
  with pytest.raises(ValueError, match="expected 1000 clips, found 2"):
    build_loader({**DATA, "train": source}, source, seed=0)
