"""`trajvit data`: what a manifest holds, and which tool is imported."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from trajvit import cli
from trajvit.data import build_loader, commands
from trajvit.data.check import Settings, check_source
from trajvit.data.decode import write_video
from trajvit.data.tracks import sidecar_paths, write_sidecars


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two videos, an image, four bad files, and manifests of them."""
  folder = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
  write_video(folder / "plain.mp4", frames, fps=8)
  write_video(folder / "tracked.mp4", frames[:, :, :32], fps=4)
  labels = np.zeros((12, 32, 32), np.int32)
  write_sidecars(*sidecar_paths(folder / "tracked.mp4"), labels)
  Image.fromarray(frames[0, :16, :16]).save(folder / "image.png")

  (folder / "empty.mp4").write_bytes(b"")
  (folder / "text.mp4").write_text("no video at all\n" * 100)
  write_video(folder / "badly_tracked.mp4", frames, fps=8)
  pair = sidecar_paths(folder / "badly_tracked.mp4")
  write_sidecars(*pair, labels[:7])
  return folder


def write_manifest(folder, name, records):
  path = folder / name
  path.write_text(json.dumps(records))
  return str(path)


@pytest.fixture
def good(folder):
  records = [
    {"video": "plain.mp4", "caption": ["one", "two"]},
    {"video": "plain.mp4", "caption": "three"},
    {"video": "tracked.mp4", "label": 3},
    {"image": "image.png", "label": 0},
  ]
  return write_manifest(folder, "good.json", records)


@pytest.fixture
def mixed(folder):
  names = ("plain", "empty", "text", "missing", "badly_tracked")
  records = [{"video": f"{name}.mp4"} for name in names]
  return write_manifest(folder, "mixed.json", records)


def test_check_of_good_files(good, capsys):
  assert cli.main(["data", "check", good, "--frames", "4"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[: lines.index("")] == [
    "clips      4 of 3 files",
    "ok         4",
    "broken     0",
    "captions   3, for 2 clips",
    "labels     2 classes from 0 to 3, for 2 clips",
    "tracks     stored for 1 clips, valid for 1",
    "pixels     16x16 to 48x32",
    "duration   1.50 to 3.00 s, 0.00 h in all",
  ]


def test_check_names_broken_files_and_fails(mixed, folder, capsys):
  assert cli.main(["data", "check", mixed]) == 1
  out = capsys.readouterr().out
  assert "ok         1\n" in out and "broken     4\n" in out
  assert "tracks     stored for 1 clips, valid for 0\n" in out
  reasons = dict(
    line.strip().split(": ", 1)
    for line in out.splitlines()
    if line.startswith(f"  {folder}")
  )
  assert set(reasons) == {
    str(folder / f"{name}.mp4")
    for name in ("empty", "text", "missing", "badly_tracked")
  }
  assert all(reasons.values())
  assert "7" in reasons[str(folder / "badly_tracked.mp4")]


def test_root(good, folder, tmp_path):
  moved = tmp_path / "good.json"
  moved.write_text((folder / "good.json").read_text())
  spec = {"manifest": str(moved), "root": str(folder)}
  checks = check_source(spec, Settings(frames=2))
  assert all(check.reason is None for check in checks)


@pytest.mark.parametrize("option", ["--frames", "--threads"])
def test_bad_arguments_are_told_on_one_line(good, option, capsys):
  assert cli.main(["data", "check", good, option, "0"]) == 2
  error = capsys.readouterr().err
  assert error == f"trajvit data: {option[2:]} must be at least 1, got 0\n"


def test_a_manifest_that_is_none(tmp_path, capsys):
  assert cli.main(["data", "check", str(tmp_path / "none.json")]) == 2
  assert "none.json" in capsys.readouterr().err


def test_only_the_chosen_tool_is_imported(good, monkeypatch, capsys):
  tool = types.ModuleType("tool")
  tool.add_arguments = lambda parser: parser.add_argument("--twice", type=int)
  tool.run = lambda args: 2 * args.twice
  monkeypatch.setitem(sys.modules, "tool", tool)
  monkeypatch.setitem(
    commands.TOOLS, "tracks", ("no_such_module", "never imported here")
  )
  assert cli.main(["data", "check", good, "--frames", "2"]) == 0
  monkeypatch.setitem(commands.TOOLS, "tracks", ("tool", "a tool"))
  assert cli.main(["data", "tracks", "--twice", "21"]) == 42


def test_a_missing_library_is_named(monkeypatch, capsys):
  monkeypatch.setitem(commands.TOOLS, "tracks", ("no_such_module", "a tool"))
  with pytest.raises(SystemExit) as error:
    cli.main(["data", "tracks"])
  assert error.value.code == 2
  assert "No module named 'no_such_module'" in capsys.readouterr().err


@pytest.mark.parametrize("caption", [None, "a word"])
def test_text_only_where_the_manifest_has_captions(folder, caption):
  records = [{"image": "image.png"}, {"image": "image.png"}]
  if caption:
    records[1]["caption"] = caption
  data = {
    "batch_size": 2,
    "clip": {"frames": 2, "size": 16, "track_grid": 8, "max_tracks": 4},
    "text": {"name": "bytes", "length": 8},
  }
  manifest = write_manifest(folder, "images.json", records)
  source = {"manifest": manifest, "tracks": "none"}
  loader = build_loader(data, source, seed=0)
  [(batch, _)] = list(loader.evaluate())
  if caption:
    assert batch.text.mask.any(-1).tolist() == [[False], [True]]
  else:
    assert batch.text is None


def test_broken_files_do_not_stop_a_loader(mixed):
  data = {
    "batch_size": 4,
    "clip": {"frames": 4, "size": 32, "track_grid": 8, "max_tracks": 4},
    "text": {"name": "bytes", "length": 8},
    "loader": {"failure_budget": 1.0},
  }
  source = {"manifest": mixed, "tracks": "none"}  # its name is not needed
  loader = build_loader(data, source, seed=0)
  with loader.train() as batches:
    for _ in range(4):
      batch, info = next(batches)
      names = {name.rpartition("/")[2] for name in info.names}
      assert names <= {"plain.mp4", "badly_tracked.mp4"}
      assert batch.clip.frames.any((1, 2, 3, 4)).all()
  failed = {name.rpartition("/")[2] for name in loader.failures.files}
  assert failed == {"empty.mp4", "text.mp4", "missing.mp4"}

  [(batch, info)] = list(
    build_loader({**data, "batch_size": 6}, source, seed=0).evaluate()
  )
  assert batch.valid.tolist() == [True, False, False, False, True, False]
  assert len(info.skipped) == 3
