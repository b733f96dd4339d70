"""`trajvit data tracks`: files in, sidecar pairs out."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from track_scenes import best_iou, moving_square

REASON = "needs the extra [tracks]"
pytest.importorskip("cv2", reason=REASON)
pytest.importorskip("skimage", reason=REASON)

from trajvit import cli  # noqa: E402
from trajvit.data import ClipSpec  # noqa: E402
from trajvit.data.decode import write_video  # noqa: E402
from trajvit.data.extract.command import extract_manifest  # noqa: E402
from trajvit.data.extract.files import Options, load_function  # noqa: E402
from trajvit.data.tracks import (  # noqa: E402
  read_sidecars,
  sidecar_paths,
  write_sidecars,
)
from trajvit.data.video_files import VideoFiles  # noqa: E402

OPTIONS = Options(frames=4, size=48)


@pytest.fixture
def folder(tmp_path):
  """A good video, an image in a folder, and two broken files."""
  frames, _ = moving_square(size=64, noise=0)
  write_video(tmp_path / "good.mp4", frames, fps=8)
  (tmp_path / "sub").mkdir()
  Image.fromarray(frames[0]).save(tmp_path / "sub" / "image.png")
  (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
  (tmp_path / "empty.mp4").write_bytes(b"")
  return tmp_path


def manifest(folder, *names):
  records = [
    {"image" if name.endswith(".png") else "video": name} for name in names
  ]
  path = folder / "manifest.json"
  path.write_text(json.dumps(records))
  return str(path)


def all_files(folder):
  return manifest(
    folder, "good.mp4", "text.mp4", "sub/image.png", "empty.mp4", "good.mp4"
  )


def one_process(name, *arguments):
  options = ["--processes", "1", "--frames", "4", "--size", "48"]
  return cli.main(["data", "tracks", name, *options, *arguments])


def test_writes_pairs_counts_broken_files_and_goes_on(folder, capsys):
  name = all_files(folder)
  assert one_process(name) == 1
  lines = capsys.readouterr().out.splitlines()
  assert "tracks of 2 files made" in lines[0] and "2 broken" in lines[0]
  assert len(lines) == 3
  assert "text.mp4: " in lines[1] and "empty.mp4: the file is empty" in lines[2]

  mask, graph = sidecar_paths(folder / "good.mp4")
  labels = read_sidecars(mask, graph, 4)
  assert labels.shape == (4, 48, 48)
  inside = moving_square(size=64)[1][::2, ::4, ::4]  # roughly
  assert best_iou(labels[:, ::3, ::3], inside) > 0.5
  assert read_sidecars(
    *sidecar_paths(folder / "sub/image.png")[:1], None, 1
  ).any()

  before = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*.npz")}
  assert len(before) == 3  # an image has no graph
  assert one_process(name) == 1
  assert "0 files made" in (out := capsys.readouterr().out)
  assert "2 were there" in out
  after = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*.npz")}
  assert after == before


def test_training_reads_what_was_written(folder):
  name = manifest(folder, "good.mp4", "sub/image.png")
  extract_manifest(name, OPTIONS, processes=1)
  clip = ClipSpec(frames=4, size=32, track_grid=16, max_tracks=8)
  source = VideoFiles(clip=clip, manifest=name, tracks="sidecar")
  for index in range(2):
    tracks = source.example(index, None).tracks
    assert tracks.shape == (4, 16, 16) and tracks.min() >= 0
    assert 1 <= tracks.max() < 8


def test_broken_wrong_and_half_pairs_are_made_anew(folder):
  name = manifest(folder, "good.mp4")
  mask, graph = sidecar_paths(folder / "good.mp4")
  good = extract_manifest(name, OPTIONS, processes=1)
  assert good[0].made
  expected = read_sidecars(mask, graph, 4)

  def damage_mask():
    pathlib.Path(mask).write_bytes(b"not a zip")

  def remove_graph():
    os.unlink(graph)

  def other_frame_count():
    write_sidecars(mask, graph, expected[:3])

  for damage in damage_mask, remove_graph, other_frame_count:
    damage()
    assert extract_manifest(name, OPTIONS, processes=1) == good
    assert np.array_equal(read_sidecars(mask, graph, 4), expected)
  assert not list(folder.glob("*.partial"))


def test_a_pair_for_all_frames_of_the_video_is_kept(folder):
  name = manifest(folder, "good.mp4")
  labels = np.arange(8, dtype=np.int32)[:, None, None].repeat(6, 1).repeat(6, 2)
  write_sidecars(*sidecar_paths(folder / "good.mp4"), labels)
  (outcome,) = extract_manifest(name, OPTIONS, processes=1)
  assert not outcome.made and outcome.tracks == 4  # of the middle frames
  (outcome,) = extract_manifest(
    name, Options(frames=4, overwrite=True), processes=1
  )
  assert outcome.made
  assert read_sidecars(*sidecar_paths(folder / "good.mp4"), 4).shape[1] == 64


def test_processes_do_as_one_does(folder):
  name = all_files(folder)
  pair = sidecar_paths(folder / "good.mp4")
  one = extract_manifest(name, OPTIONS, processes=1)
  expected = [pathlib.Path(path).read_bytes() for path in pair]
  again = Options(frames=4, size=48, overwrite=True)
  assert extract_manifest(name, again, processes=2) == one
  assert [pathlib.Path(path).read_bytes() for path in pair] == expected


@pytest.mark.slow
@pytest.mark.parametrize("all_frames", [False, True])
def test_beam_does_as_one_process_does(folder, all_frames):
  pytest.importorskip("apache_beam", reason="needs the extra [beam]")
  name = all_files(folder)
  options = Options(frames=4, size=48, all_frames=all_frames, chunk=4)
  one = extract_manifest(name, options, processes=1)
  paths = sorted(folder.rglob("*.npz"))
  expected = [path.read_bytes() for path in paths]
  for path in paths:
    path.unlink()
  beam = ["--runner=DirectRunner"]
  assert extract_manifest(name, options, beam=beam) == one
  assert [path.read_bytes() for path in paths] == expected
  assert sorted(folder.rglob("*.npz")) == paths


def halves(folder, monkeypatch):
  """Options for two halves of the picture that never move."""
  (folder / "my_parts_of_tracks.py").write_text(
    "import numpy as np\n"
    "def halves(frame):\n"
    "  masks = np.zeros((2, *frame.shape[:2]), bool)\n"
    "  masks[0, :20] = masks[1, 20:] = True\n"
    "  return masks\n"
    "def still(frames, masks):\n"
    "  return np.repeat(masks[None], len(frames), axis=0)\n"
    "def wrong(frame):\n"
    "  return frame\n"
  )
  monkeypatch.syspath_prepend(folder)
  parts = ["--segmenter", "my_parts_of_tracks:halves"]
  return [*parts, "--tracker", "my_parts_of_tracks:still"]


def write_long_video(folder):
  frames, _ = moving_square(frames=30, step=1)
  write_video(folder / "long.mp4", frames, fps=8)


def test_all_frames_of_a_long_video(folder, monkeypatch, capsys):
  parts = halves(folder, monkeypatch)
  write_long_video(folder)
  name = manifest(folder, "long.mp4", "sub/image.png", "empty.mp4")
  pictures = folder / "pictures"
  every = [*parts, "--all-frames", "--chunk", "8", "--overlay", str(pictures)]
  assert one_process(name, *every) == 1
  assert "tracks of 2 files made" in capsys.readouterr().out
  pair = sidecar_paths(folder / "long.mp4")
  labels = read_sidecars(*pair, 30)
  assert (labels[:, :20] == 0).all() and (labels[:, 20:] == 1).all()
  assert (pictures / "long_tracks.png").exists()

  # The same as in one chunk; training reads it; it is not made again.
  before = [pathlib.Path(path).read_bytes() for path in pair]
  one_chunk = [*parts, "--all-frames", "--chunk", "99", "--overwrite"]
  one_process(name, *one_chunk)
  assert [pathlib.Path(path).read_bytes() for path in pair] == before
  clip = ClipSpec(
    frames=4, size=32, track_grid=16, max_tracks=8, sampler="uniform"
  )
  source = VideoFiles(clip=clip, manifest=name, tracks="sidecar")
  example = source.example(0, np.random.default_rng(0))
  assert example.times[-1] > 3 and example.tracks.max() == 1
  capsys.readouterr()
  one_process(name, *every)
  assert "0 files made" in (out := capsys.readouterr().out)
  assert "2 were there" in out

  # A pair of a few frames is no such pair; a limit is counted.
  write_sidecars(*pair, labels[:4])
  one_process(name, *every, "--max-video-tracks", "1")
  out = capsys.readouterr().out
  assert "1 tracks above the limit of a video left out of 1 videos" in out
  labels = read_sidecars(*pair, 30)
  assert (labels[:, :20] == -1).all() and (labels[:, 20:] == 0).all()


def test_a_damaged_video_leaves_no_pair(folder, monkeypatch, capsys):
  parts = halves(folder, monkeypatch)
  write_long_video(folder)
  path = folder / "long.mp4"
  path.write_bytes(half_blank(path.read_bytes()))
  name = manifest(folder, "long.mp4")
  assert one_process(name, *parts, "--all-frames", "--chunk", "4") == 1
  assert "long.mp4: frame " in capsys.readouterr().out
  assert not list(folder.glob("*.npz")) and not list(folder.glob("*.partial"))


def half_blank(content):
  """An MP4 whose second half of pixels is gone."""
  start = content.index(b"mdat") + 4
  size = int.from_bytes(content[start - 8 : start - 4], "big") - 8
  half = start + size // 2
  return content[:half] + bytes(size - size // 2) + content[start + size :]


def test_parts_of_videos_need_all_frames(folder):
  path = folder / "parts.json"
  path.write_text(json.dumps([{"video": "good.mp4", "start": 0.5}]))
  with pytest.raises(ValueError, match="parts of videos, the first of .*good"):
    extract_manifest(str(path), OPTIONS, processes=1)


def test_pictures_are_laid_out_as_the_files(folder):
  name = manifest(folder, "good.mp4", "sub/image.png", "text.mp4")
  pictures = folder / "pictures"
  assert one_process(name, "--overlay", str(pictures)) == 1
  found = {str(p.relative_to(pictures)) for p in pictures.rglob("*.*")}
  expected = {"good_tracks", "sub/image_tracks"}
  assert found == {n + end for n in expected for end in (".png", ".gif")}
  (pictures / "good_tracks.png").unlink()
  kept = os.stat(pictures / "sub/image_tracks.png").st_mtime_ns
  one_process(name, "--overlay", str(pictures))
  assert (pictures / "good_tracks.png").exists()
  assert os.stat(pictures / "sub/image_tracks.png").st_mtime_ns == kept


def test_parts_are_loaded_by_name(folder, monkeypatch, capsys):
  parts = halves(folder, monkeypatch)
  name = manifest(folder, "good.mp4")
  assert one_process(name, *parts) == 0
  labels = read_sidecars(*sidecar_paths(folder / "good.mp4"), 4)
  assert (labels[:, :20] == 0).all() and (labels[:, 20:] == 1).all()
  wrong = ["--segmenter", "my_parts_of_tracks:wrong", "--overwrite"]
  assert one_process(name, *wrong) == 2
  assert "segmenter must return bool" in capsys.readouterr().err


@pytest.mark.parametrize(
  "name, message",
  [
    ("json", 'expected "module:function", got'),
    ("json:", 'expected "module:function", got'),
    ("no_such_module_here:f", "PYTHONPATH"),
    ("json:no_such", "json has no function 'no_such'"),
    ("json:__doc__", "json has no function '__doc__'"),
  ],
)
def test_names_of_no_function(name, message):
  with pytest.raises(ValueError, match=message):
    load_function(name)


@pytest.mark.parametrize(
  "option", ["frames", "size", "max_tracks", "max_video_tracks"]
)
def test_numbers_below_one(option):
  with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
    Options(**{option: 0})


def test_a_chunk_of_one_frame():
  with pytest.raises(ValueError, match="chunk must be at least 2, got 1"):
    Options(chunk=1)


def test_no_processes(folder):
  with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
    extract_manifest(all_files(folder), OPTIONS, processes=0)
