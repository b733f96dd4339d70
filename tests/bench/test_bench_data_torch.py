"""The baseline of the benchmark of data does our work; needs PyTorch."""

import importlib

import numpy as np
import pytest

from trajvit.bench.data_clips import Recording
from trajvit.bench.data_readers import (
  DataReaders,
  agreement,
  has_baseline,
  measure,
)
from trajvit.data.example import ClipSpec

RECORDING = Recording(clips=4, frames=12, height=48, width=64)
CLIP = ClipSpec(frames=4, size=32, track_grid=8, max_tracks=64)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
  return DataReaders(
    tmp_path_factory.mktemp("bench_data_torch"),
    recording=RECORDING,
    clip=CLIP,
    batch_size=2,
    storages=("files",),
  )


@pytest.mark.parametrize("name", ["decord", "pyav"])
def test_the_same_clips(readers, name):
  if not has_baseline(name):
    pytest.skip(f"without PyTorch or {name}")
  clips = readers.baseline_clips(name, train=False)
  assert len(clips) == 4
  source = readers.source("files")
  examples = [source.example(i, None) for i in range(4)]
  found = agreement(examples, [clips[i][:2] for i in range(4)])
  assert found["tracks"] == 1 and found["difference"] < 1
  assert found["shapes"] == "[4, 32, 32, 3] uint8, [4, 8, 8]"


def test_batches_have_no_end_and_are_drawn_anew(readers):
  if not has_baseline("pyav"):
    pytest.skip("without PyTorch")
  reading = readers.baseline("pyav", "this thread")
  with reading.open() as batches:
    frames, tracks, graph, captions = next(batches)
    for _ in range(5):  # epochs have two
      more = next(batches)[0]
  assert frames.shape == more.shape == (2, 4, 32, 32, 3)
  assert tracks.shape == (2, 4, 8, 8) and graph.shape == (2, 64, 4)
  assert len(captions) == 2 and (frames != more).any()
  wall, _ = measure(reading, 1)
  assert wall > 0


def test_a_mirrored_crop_mirrors_its_tracks(readers):
  if not has_baseline("pyav"):
    pytest.skip("without PyTorch")
  torch_data = importlib.import_module("trajvit.bench.data_torch")
  mask = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8)
  graph = np.arange(1, 65)[:, None]
  view = torch_data.View(2, 4, 4, 4, flip=True)
  tracks = torch_data._tracks(mask, graph, view, 4)
  np.testing.assert_array_equal(
    tracks[0], np.arange(64).reshape(8, 8)[2:6, 7:3:-1]
  )
