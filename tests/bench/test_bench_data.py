"""The benchmark of data: the same clips from all storages, and what is told."""

import csv
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from trajvit import cli
from trajvit.bench import data, data_clips
from trajvit.bench.cpu_time import cpu_seconds
from trajvit.bench.data_clips import Recording, record
from trajvit.bench.data_readers import agreement, has_baseline
from trajvit.data.manifest import read_manifest
from trajvit.data.tracks import read_sidecars, sidecar_paths

TINY = Recording(clips=4, frames=12, height=32, width=48)
SHAPES = [
  *["--clips", "4", "--video-frames", "12", "--height", "32", "--width", "48"],
  *["--frames", "4", "--size", "32", "--track-grid", "8", "--batch-size", "2"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("bench_data")


@pytest.fixture(scope="module")
def manifest(folder):
  return record(folder / "files", TINY)


def test_equal_recordings_are_equal_files(manifest, tmp_path):
  again = record(tmp_path / "again", TINY)
  for path in manifest.parent.glob("*.mp4"):
    assert path.read_bytes() == (again.parent / path.name).read_bytes()
  before = {p: p.stat().st_mtime_ns for p in again.parent.iterdir()}
  assert record(again.parent, TINY) == again
  assert before == {p: p.stat().st_mtime_ns for p in again.parent.iterdir()}
  with pytest.raises(ValueError, match="expected no files, or those of"):
    record(again.parent, Recording(clips=3))


def test_recordings_have_captions_and_tracks_that_move(manifest):
  records = read_manifest(manifest)
  assert len(records) == 4 and all(r.captions for r in records)
  counts = set()
  for record_ in records:
    tracks = read_sidecars(*sidecar_paths(record_.path), TINY.frames)
    assert tracks.shape == (12, 32, 48) and tracks.min() >= 0
    assert (tracks[0] != tracks[-1]).any()
    counts.add(len(np.unique(tracks)))
  assert len(counts) > 1


@pytest.mark.parametrize("bad", [{"clips": 0}, {"height": 8}])
def test_what_cannot_be_recorded(tmp_path, bad):
  with pytest.raises(ValueError, match="at least 16 x 16 pixels, got Rec"):
    record(tmp_path / "none", Recording(**bad))


def test_a_run_tells_the_same_on_all_ways(
  manifest, folder, tmp_path, capsys, monkeypatch
):
  """Without PyTorch, which is named, and with a clock that ticks by itself."""
  monkeypatch.setattr(data, "has_baseline", lambda name: False)
  ticks = itertools.count()
  monkeypatch.setattr("trajvit.bench.data_readers.cpu_seconds", ticks.__next__)
  page, table, out = (tmp_path / f"data.{end}" for end in ("md", "csv", "json"))
  arguments = ["bench", "data", "--folder", str(folder), *SHAPES]
  arguments += ["--readers", "this thread", "--batches", "1", "--rounds", "1"]
  arguments += ["--markdown", str(page), "--csv", str(table), "--out", str(out)]
  assert cli.main(arguments) == 0
  printed = capsys.readouterr().out
  assert "without decord and pyav: pip install torch decord" in printed
  clips, same, speed = json.loads(out.read_text())["sections"].values()
  assert [row["storage"] for row in clips] == ["files", "array_record", "tar"]
  for row in same:
    assert row["shapes"] == "[4, 32, 32, 3] uint8, [4, 8, 8]"
    assert (row["difference"], row["tracks"]) == (0, 1)
  assert [row["clips_per_cpu_second"] for row in speed] == [2.0] * 3
  assert all(row["clips_per_second"] > 0 for row in speed)
  header, *cells = csv.reader(table.open())
  assert tuple(header) == data.HEADER
  assert [row[0] for row in cells] == ["files", "array_record", "tar"]
  assert f"{TINY.frames} frames, 48 x 32" in page.read_text()


def test_ratios_are_to_the_fastest_baseline():
  rows = [
    dict(clips=name, reader="r", baseline=baseline, clips_per_second=1.0)
    | dict(clips_per_cpu_second=rate)
    for name, baseline, rate in (
      ("ours", False, 30.0),
      ("slow", True, 10.0),
      ("fast", True, 20.0),
    )
  ]
  assert [row[-1] for row in data._speed_cells(rows)] == [
    "1.50x",
    "0.50x",
    "1.00x",
  ]


def test_agreement_sees_a_pixel_and_a_cell():
  class One:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    tracks = np.arange(2)[:, None, None].repeat(2, 1).repeat(2, 2)

  frames, tracks = One.frames.copy(), 3 + 2 * One.tracks
  assert agreement([One], [(frames, tracks)])["tracks"] == 1
  frames[0, 0, 0, 0], tracks[0, 0, 0] = 96, 5
  found = agreement([One], [(frames, tracks)])
  assert found["difference"] == 1.0 and found["tracks"] == 7 / 8


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_the_time_of_children_counts():
  code = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
  before = cpu_seconds()
  with subprocess.Popen(
    [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE
  ) as child:
    while cpu_seconds() - before < 0.25:
      assert child.poll() is None
    child.communicate(b"\n")
  assert cpu_seconds() - before >= 0.25


def test_a_baseline_needs_torch(monkeypatch):
  found = {"av": object()}
  monkeypatch.setattr("importlib.util.find_spec", found.get)
  assert not has_baseline("pyav")
  found["torch"] = object()
  assert has_baseline("pyav") and not has_baseline("decord")


def test_the_bit_rate(manifest):
  size = sum(p.stat().st_size for p in manifest.parent.glob("*.mp4"))
  rate = data_clips.megabits_a_second(manifest.parent, TINY)
  assert rate == pytest.approx(8e-6 * size / (4 * 12 / 30))
