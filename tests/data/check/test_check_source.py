"""What the check finds in clips whose numbers are known."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from trajvit import cli
from trajvit.data.check import Settings, all_clips, check_source
from trajvit.data.check.results import good_manifest, summary
from trajvit.data.check.specs import parse_source
from trajvit.data.decode import write_video
from trajvit.data.formats.make import Options
from trajvit.data.formats.pack import pack_manifest
from trajvit.data.manifest import read_manifest
from trajvit.data.tracks import sidecar_paths, write_sidecars

SETTINGS = Settings(frames=4, track_grid=8)
# name -> (frames, height, width, fps, tracks)
VIDEOS = {
  "a": (8, 32, 48, 4, 3),
  "b": (12, 64, 32, 8, 1),
  "c": (30, 32, 32, 10, None),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Three videos and an image; d is a with a bad end, e has half its tracks."""
  folder = tmp_path_factory.mktemp("known")
  rng = np.random.default_rng(0)
  for name, (frames, height, width, fps, tracks) in VIDEOS.items():
    path = folder / f"{name}.mp4"
    noise = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    write_video(path, noise, fps)
    if tracks:
      rows = np.arange(height) * tracks // height
      labels = np.broadcast_to(rows[:, None], (frames, height, width))
      write_sidecars(*sidecar_paths(path), labels.astype(np.int32))
  Image.fromarray(noise[0, :20, :30]).save(folder / "i.png")
  content = bytearray((folder / "c.mp4").read_bytes())
  end = content.index(b"moov") - 4
  content[end - 500 : end] = bytes(500)
  (folder / "d.mp4").write_bytes(content)
  write_video(folder / "e.mp4", noise[:8], 8)
  write_sidecars(
    *sidecar_paths(folder / "e.mp4"), np.zeros((8, 32, 32), np.int32)
  )
  (folder / "e_graph.npz").unlink()
  return folder


@pytest.fixture(scope="module")
def manifest(folder):
  records = [
    {"video": "a.mp4", "caption": ["one", "two"], "label": 1},
    {"video": "b.mp4", "labels": [2, 0]},
    {"video": "a.mp4", "caption": "three", "label": 0},
    {"video": "a.mp4", "start": 0.5, "end": 1.25},
    {"image": "i.png"},
    {"video": "c.mp4"},
    {"video": "d.mp4"},
    {"video": "e.mp4"},
    {"video": "none.mp4", "caption": "four"},
  ]
  path = folder / "clips.json"
  path.write_text(json.dumps(records))
  return str(path)


def test_numbers(manifest):
  checks = check_source({"manifest": manifest}, SETTINGS)
  found = [
    (c.frames, c.height, c.width, c.fps, c.seconds, c.tracks) for c in checks
  ]
  a = (8, 32, 48, 4, 2.0, 3)
  assert found == [
    a,
    (12, 64, 32, 8, 1.5, 1),
    a,
    (3, 32, 48, 4, 0.75, 3),
    (1, 20, 30, None, None, None),
    (30, 32, 32, 10, 3.0, None),
    (30, 32, 32, 10, 3.0, None),
    (0, 0, 0, None, None, None),
    (0, 0, 0, None, None, None),
  ]
  assert [c.captions for c in checks] == [2, 0, 1, 0, 0, 0, 0, 0, 1]
  assert [c.label for c in checks] == [1, -1, 0, -1, -1, -1, -1, -1, -1]
  assert [c.first for c in checks] == [0, 1, 0, 3, 4, 5, 6, 7, 8]
  assert [c.reason is None for c in checks] == [True] * 7 + [False] * 2
  assert "no sidecar pair" in checks[7].reason
  lines = summary(checks).splitlines()
  assert lines[0] == "clips      9 of 7 files"
  assert lines[1:3] == ["ok         7", "broken     2"]
  assert lines[-1] == "duration   0.75 to 3.00 s, 0.00 h in all"


def test_every_frame_finds_what_samples_do_not(manifest):
  settings = Settings(frames=4, track_grid=8, every_frame=True)
  some = check_source({"manifest": manifest}, SETTINGS)
  every = check_source({"manifest": manifest}, settings)
  differ = [b for a, b in zip(some, every, strict=True) if a != b]
  assert [check.name.rpartition("/")[2] for check in differ] == ["d.mp4"]
  assert "frame" in differ[0].reason


def test_each_file_is_read_once(manifest, monkeypatch):
  read, check = [], all_clips.Inspector.check

  def counting(self, index):
    read.append(index)
    return check(self, index)

  monkeypatch.setattr(all_clips.Inspector, "check", counting)
  check_source({"manifest": manifest}, SETTINGS, threads=1)
  assert read == [0, 1, 3, 4, 5, 6, 7, 8]


def test_threads_and_parts_change_nothing(manifest, monkeypatch):
  spec = {"manifest": manifest}
  expected = check_source(spec, SETTINGS, threads=1)
  assert check_source(spec, SETTINGS, threads=4) == expected
  monkeypatch.setattr(all_clips, "_CLIPS_PER_PART", 3)
  assert check_source(spec, SETTINGS, processes=1) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
  "how", [{"processes": 2}, {"beam": ["--runner", "DirectRunner"]}]
)
def test_who_does_the_work_changes_nothing(
  manifest, monkeypatch, tmp_path, how
):
  spec = {"manifest": manifest}
  expected = check_source(spec, SETTINGS)
  monkeypatch.setattr(all_clips, "_CLIPS_PER_PART", 3)
  assert check_source(spec, SETTINGS, folder=str(tmp_path), **how) == expected
  assert not list(tmp_path.iterdir())


def test_the_good_clips_are_a_manifest(manifest, folder, tmp_path):
  records = read_manifest(manifest)
  checks = check_source({"manifest": manifest}, SETTINGS)
  path = tmp_path / "good.json"
  path.write_text(json.dumps(good_manifest(records, checks, str(folder))))
  assert read_manifest(path, str(folder)) == records[:7]


def test_packed_shards_give_the_same_numbers(
  manifest, folder, tmp_path, capsys
):
  records = json.loads((folder / "clips.json").read_text())[:6]
  some = folder / "some.json"
  some.write_text(json.dumps(records))
  pack_manifest(str(some), str(tmp_path), Options(), processes=1)
  source = f"name=array_record,root={tmp_path}"
  plain = check_source({"manifest": str(some)}, SETTINGS)
  packed = check_source(parse_source(source), SETTINGS)
  numbers = ("reason", "captions", "label", "tracks", "frames", "seconds")
  assert [[getattr(c, n) for n in numbers] for c in packed] == [
    [getattr(c, n) for n in numbers] for c in plain
  ]
  [shard] = tmp_path.glob("*.array_record")
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 0xFF
  shard.write_bytes(content)
  assert cli.main(["data", "check", source, "--frames", "4"]) == 1
  out = capsys.readouterr().out
  assert f"  {shard}: not the SHA-256" in out


def test_tracks_are_found_in_pixels_where_there_are_none(manifest, monkeypatch):
  sizes = []

  def extract_tracks(frames, *, max_tracks):
    sizes.append(frames.shape)
    rows = np.arange(frames.shape[1]) * 5 // frames.shape[1]
    return np.broadcast_to(
      rows[:, None].astype(np.int32), frames.shape[:3]
    ).copy()

  stub = types.ModuleType("trajvit.data.extract")
  stub.extract_tracks = extract_tracks
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", stub)
  settings = Settings(frames=4, track_grid=8, extract=True)
  checks = check_source({"manifest": manifest}, settings, threads=1)
  assert [c.tracks for c in checks] == [3, 1, 3, 3, 5, 5, 5, None, None]
  # At the resolution of training, four pixels a cell; an image is one frame.
  assert sizes == [(1, 32, 32, 3), (4, 32, 32, 3), (4, 32, 32, 3)]
  assert [c.stored_tracks for c in checks[4:7]] == [False] * 3


def test_several_sources_are_counted_together(
  manifest, folder, tmp_path, capsys
):
  other = folder / "other.json"
  other.write_text('[{"video": "b.mp4"}]')
  command = ["data", "check", manifest, str(other), "--frames", "4"]
  assert cli.main([*command, "--out", str(tmp_path)]) == 1
  out = capsys.readouterr().out
  assert out.startswith(
    "clips      10 of 7 files\nok         8\nbroken     2\n"
  )
  for name, clips in ("good_1.json", 7), ("good_2.json", 1):
    assert len(read_manifest(tmp_path / name, str(folder))) == clips
    assert f"manifest={tmp_path / name} root={folder}" in out
  lines = (tmp_path / "bad.txt").read_text().splitlines()
  assert [line.split("\t")[0] for line in lines] == [
    str(folder / "e.mp4"),
    str(folder / "none.mp4"),
  ]


def test_a_source_that_makes_its_clips(capsys):
  source = "name=moving_sprites,split=validation,count=6"
  assert cli.main(["data", "check", source, "--frames", "2"]) == 0
  out = capsys.readouterr().out
  assert "clips      6 of 6 files\nok         6\nbroken     0\n" in out
  assert "tracks: 6 clips" in out and "config.data.clip.max_tracks = 8\n" in out


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("name=nothing", "unknown source 'nothing'"),
    ("name=mose,root", "expected key=value, got 'root'"),
    ("name=moving_sprites,count=many", "count cannot be 'many'"),
    ("name=mose,folder=x", "reads no 'folder'"),
    ("none.json", "none.json"),
  ],
)
def test_sources_that_are_none(source, message, capsys):
  assert cli.main(["data", "check", source]) == 2
  assert message in capsys.readouterr().err


def test_values_of_a_spec_are_as_annotated(manifest):
  text = f"name=benchmark,benchmark=2017,root={manifest},counts=False"
  assert parse_source(text) == {
    "name": "benchmark",
    "benchmark": "2017",
    "root": manifest,
    "counts": False,
  }
  assert parse_source("x.json", "there") == {
    "name": "video_files",
    "manifest": "x.json",
    "root": "there",
  }
  with pytest.raises(ValueError, match="counts cannot be 'no'"):
    parse_source("name=benchmark,counts=no")
  with pytest.raises(ValueError, match="root is for manifests"):
    parse_source(text, "there")
