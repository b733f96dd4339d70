"""Work by this process, by others and by Beam: the same, byte for byte."""

import dataclasses
import os
import pathlib
import sys

import pytest
from packing_clips import contents, write_clips

from trajvit import cli
from trajvit.data.jobs import run_jobs

# Beam otherwise looks for a runner of other make on the network.
BEAM = ["--runner", "DirectRunner", "--allow_unsafe_triggers"]


@dataclasses.dataclass(frozen=True)
class Square:
  """What became of a number."""

  number: int
  square: int


def square(number):
  if number < 0:
    raise ValueError(f"{number} is below 0")
  return Square(number, number * number)


def test_this_process_and_others(tmp_path):
  """`int` is work that other processes need not import."""
  for processes in (1, 2):
    seen = []
    found = run_jobs(
      int,
      ["3", "1", "2"],
      int,
      folder=tmp_path,
      processes=processes,
      progress=lambda results, total, seen=seen: seen.append(total) or results,
    )
    assert found == [3, 1, 2] and seen == [3]
  with pytest.raises(ValueError, match="-1 is below 0"):
    run_jobs(square, [1, -1], Square, folder=tmp_path, processes=1)
  assert run_jobs(square, [], Square, folder=tmp_path) == []
  assert not list(tmp_path.iterdir())


def test_without_beam(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  with pytest.raises(ValueError, match=r"needs `pip install .*\[beam\]"):
    run_jobs(square, [1], Square, folder=tmp_path, beam=[])


def test_packing_by_beam_is_packing_here(tmp_path, capsys):
  """Every file of the folder, and what is said; broken clips are in it, too."""
  pytest.importorskip("apache_beam", reason="needs the extra [beam]")
  manifest = write_clips(tmp_path / "in", broken=True)
  said = []
  for name, how in ("one", ["--processes", "1"]), ("beam", ["--beam", *BEAM]):
    out = str(tmp_path / name)
    assert cli.main(["data", "pack", manifest, out, "--shards", "2", *how]) == 1
    said.append(capsys.readouterr().out.replace(out, "OUT"))
  assert contents(tmp_path / "one") == contents(tmp_path / "beam")
  assert len(contents(tmp_path / "one")) == 5 and said[0] == said[1]

  # In the same test, since importing Beam takes seconds.
  found = run_jobs(square, [2, 5], Square, folder=tmp_path / "x", beam=BEAM)
  assert found == [Square(2, 4), Square(5, 25)]
  with pytest.raises(ValueError, match="-7 is below 0"):
    run_jobs(square, [1, -7], Square, folder=tmp_path / "x", beam=BEAM)
  with pytest.raises(ValueError, match="Beam knows no argument runnr"):
    run_jobs(square, [1], Square, folder=tmp_path / "x", beam=["--runnr", "x"])
  assert run_jobs(square, [], Square, folder=tmp_path, beam=BEAM) == []
  assert not list((tmp_path / "x").iterdir())


def test_tracks_by_beam_are_tracks_made_here(tmp_path):
  pytest.importorskip("apache_beam", reason="needs the extra [beam]")
  pytest.importorskip("cv2", reason="needs the extra [tracks]")
  made = []
  for name, how in ("one", ["--processes", "1"]), ("beam", ["--beam", *BEAM]):
    manifest = write_clips(tmp_path / name)
    folder = tmp_path / name
    for path in folder.rglob("*.npz"):
      path.unlink()
    records = '[{"video": "a.mp4"}, {"video": "sub/b.mp4"}, {"image": "c.png"}]'
    pathlib.Path(manifest).write_text(records)
    options = ["--frames", "2", "--size", "32"]
    assert cli.main(["data", "tracks", manifest, *options, *how]) == 0
    made.append(
      {
        os.path.relpath(path, folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
      }
    )
  assert made[0] == made[1]
  assert len([path for path in made[0] if path.endswith(".npz")]) == 5
