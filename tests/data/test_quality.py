"""`trajvit data quality`: numbers by hand, and the evaluator's VEQ."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from trajvit import cli
from trajvit.data.quality.command import measure_files
from trajvit.data.quality.measure import compare, measure
from trajvit.data.tracks import sidecar_paths, write_sidecars
from trajvit.evaluators.tubes import score


def in_pieces(labels, size=3):
  return np.split(labels, range(size, len(labels), size))


def halves(frames=8):
  """Track 0 on the left throughout, 1 on the right from the third frame on.

  Two rows of the right half have no track, and track 2 is a pixel in two
  frames.
  """
  labels = np.full((frames, 4, 8), -1, np.int32)
  labels[:, :, :4] = 0
  labels[2:, :2, 4:] = 1
  labels[3:5, 3, 7] = 2
  return labels


def test_quality_by_hand():
  quality = measure(in_pieces(halves()))
  assert (quality.frames, quality.tracks) == (8, 3)
  owned = 8 * 16 + 6 * 8 + 2
  assert quality.coverage == pytest.approx(owned / (8 * 32))
  assert quality.track_frames == pytest.approx((8 + 6 + 2) / 3)
  assert quality.track_share == pytest.approx((8 + 6 + 2) / 3 / 8)
  assert quality.begin_late == pytest.approx(2 / 3)
  assert quality.smallest == pytest.approx(1 / 32)


def test_no_tracks():
  none = np.full((4, 3, 3), -1, np.int32)
  quality = measure(in_pieces(none))
  assert (quality.frames, quality.tracks, quality.coverage) == (4, 0, 0)
  some = np.zeros_like(none)
  for found, truth in ((none, none), (some, none), (none, some)):
    agreement = compare(in_pieces(found), in_pieces(truth))
    assert agreement.veq == agreement.followed == agreement.switches == 0


def test_the_same_tracks_by_other_numbers_agree():
  truth = halves()
  agreement = compare(
    in_pieces(np.array([7, 3, 9, -1])[truth]), in_pieces(truth)
  )
  assert (agreement.veq, agreement.followed) == (1, 1)
  assert agreement.switches == 0


def test_switches_by_hand():
  truth = np.zeros((9, 2, 8), np.int32)
  truth[:, :, 4:] = 1
  found = np.array(truth)
  found[3:6, :, :4] = 2  # 0 -> 2 -> 0: two switches
  found[2, :, 4:] = -1  # lost for a frame, no switch
  found[6:, :, 4:] = 3  # 1 -> 3
  agreement = compare(in_pieces(found), in_pieces(truth))
  assert agreement.switches == 3
  assert agreement.switches_per_track == 1.5
  assert agreement.followed == pytest.approx(17 / 18)
  # 0 is on 6 of 9 frames, 1 on 5 of 9; 2 and 3 find no partner.
  assert agreement.veq == pytest.approx(2 * (6 / 9 + 5 / 9) / (4 + 2))


@pytest.mark.parametrize("seed", range(6))
def test_veq_is_that_of_the_evaluator(seed):
  rng = np.random.default_rng(seed)
  truth = rng.integers(-1, 3, (7, 2, 2)).repeat(4, 1).repeat(4, 2)
  truth[1:] = np.where(rng.random(truth[1:].shape) < 0.8, truth[0], truth[1:])
  found = truth[:, ::2, ::2]
  noise = rng.integers(-1, 5, found.shape)
  found = np.where(rng.random(found.shape) < 0.8, found + 2, noise)
  veq = compare(in_pieces(found, 2), in_pieces(truth, 2)).veq
  assert veq == pytest.approx(score(found, truth).veq)
  assert veq > 0


@pytest.fixture
def folder(tmp_path):
  """Two videos and an image with tracks, one file without."""
  truth = halves()
  (tmp_path / "true" / "sub").mkdir(parents=True)
  (tmp_path / "sub").mkdir()
  for name in ("a.mp4", "sub/b.mp4"):
    found = truth if name == "a.mp4" else np.where(truth == 0, -1, truth)
    write_sidecars(*sidecar_paths(tmp_path / name), found)
    write_sidecars(*sidecar_paths(tmp_path / "true" / name), truth)
  Image.new("RGB", (8, 4)).save(tmp_path / "c.png")
  for below in ("c.png", "true/c.png"):
    mask, _ = sidecar_paths(tmp_path / below)
    write_sidecars(mask, None, np.zeros((1, 4, 8), np.int32))
  names = ["a.mp4", "sub/b.mp4", "none.mp4"]
  records = [{"video": name} for name in names] + [{"image": "c.png"}]
  (tmp_path / "clips.json").write_text(json.dumps(records))
  return tmp_path


def test_the_command(folder, capsys):
  name = str(folder / "clips.json")
  files = [f"--{kind}={folder / kind}" for kind in ("json", "csv")]
  command = ["data", "quality", name, "--processes", "1", *files]
  assert cli.main(command) == 1
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "3 files with tracks, 1 without"
  assert lines[1].split()[:3] == ["frames", "tracks", "coverage"]
  assert lines[2].endswith("  all") and lines[3].endswith("b.mp4")
  assert "none.mp4: " in lines[-1] and len(lines) == 7

  assert cli.main([*command, f"--reference={folder / 'true'}"]) == 1
  capsys.readouterr()
  content = json.loads((folder / "json").read_text())
  rows = {row["path"].rpartition("/")[2]: row for row in content["files"]}
  assert rows["a.mp4"]["veq"] == rows["c.png"]["veq"] == 1
  assert rows["b.mp4"]["veq"] == pytest.approx(2 * 2 / (2 + 3))
  assert rows["b.mp4"]["followed"] == pytest.approx(8 / 16)
  assert "reason" in rows["none.mp4"] and "veq" not in rows["none.mp4"]
  mean = np.mean([rows[x]["coverage"] for x in ("a.mp4", "b.mp4", "c.png")])
  assert content["overall"]["coverage"] == pytest.approx(mean)
  with open(folder / "csv", newline="") as file:
    lines = {row["path"]: row for row in csv.DictReader(file)}
  assert float(lines[str(folder / "a.mp4")]["veq"]) == 1
  assert lines[str(folder / "none.mp4")]["veq"] == ""


def test_a_reference_of_other_frames(folder):
  pair = sidecar_paths(folder / "true" / "a.mp4")
  write_sidecars(*pair, halves(5))
  found = measure_files(
    str(folder / "clips.json"), reference=str(folder / "true"), processes=1
  )
  assert "5 frames of tracks to compare 8 with" in found[0].reason
  assert found[1].reason is None


def test_no_reference_folder(folder):
  with pytest.raises(ValueError, match="no folder of reference tracks: nowher"):
    measure_files(str(folder / "clips.json"), reference="nowhere")
