"""`trajvit data masklets`: annotations in, sidecar pairs out."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from run_length_encoder import coco

from trajvit import cli
from trajvit.data.decode import decode_frames, probe, write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.masklets.annotation import Annotation, frame_numbers
from trajvit.data.masklets.command import convert_manifest
from trajvit.data.masklets.files import Options
from trajvit.data.masklets.images import read_images
from trajvit.data.masklets.json_files import read_json
from trajvit.data.tracks import read_sidecars, sidecar_paths
from trajvit.data.video_files import VideoFiles

FRAMES, HEIGHT, WIDTH = 12, 32, 48


def masks(frames=FRAMES):
  """A small object that moves over a large one that is gone at the end."""
  large = np.zeros((frames, HEIGHT, WIDTH), bool)
  large[: frames - 3, 4:28, 4:40] = True
  small = np.zeros_like(large)
  for t in range(frames):
    small[t, 10:18, 2 * t : 2 * t + 8] = True
  return small, large


def truth(frames=FRAMES):
  """Rows by object, the small one in front."""
  small, large = masks(frames)
  return np.where(small, 0, np.where(large, 1, -1)).astype(np.int32)


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def sa_v(step=1, *, compressed=False):
  pairs = list(zip(*(m[::step] for m in masks()), strict=True))
  return {
    "video_id": "a",
    "masklet": [[coco(m, compressed=compressed) for m in p] for p in pairs],
    "masklet_id": [0, 1],
  }


def by_object(step=1):
  return {
    name: {
      str(t): coco(mask) if mask.any() else None
      for t, mask in enumerate(own)
      if t % step == 0
    }
    for name, own in zip(("7", "cup"), masks(), strict=True)
  }


def write_numbers(folder, step=1):
  folder.mkdir(parents=True)
  for t, labels in enumerate(truth()[::step]):
    image = Image.fromarray((labels + 1).astype(np.uint8)).convert("P")
    image.save(folder / f"{t * step:05d}.png")


def write_objects(folder, step=1):
  for name, own in zip(("001", "002"), masks(), strict=True):
    (folder / name).mkdir(parents=True)
    for t, mask in enumerate(own[::step]):
      if mask.any():
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        image.save(folder / name / f"{t * step:05d}.png")


@pytest.fixture
def folder(tmp_path):
  """Two equal videos, one in a folder, whose brightness tells the frame."""
  shade = 20 * np.arange(FRAMES, dtype=np.uint8)
  frames = np.repeat(shade, HEIGHT * WIDTH * 3)
  frames = frames.reshape(FRAMES, HEIGHT, WIDTH, 3)
  (tmp_path / "sub").mkdir()
  for name in ("a.mp4", "sub/b.mp4"):
    write_video(tmp_path / name, frames, fps=24)
  return tmp_path


def manifest(folder, *names):
  path = folder / "clips.json"
  records = [
    {"video": name, "caption": f"of {name}", "label": i}
    for i, name in enumerate(names or ("a.mp4", "sub/b.mp4"))
  ]
  path.write_text(json.dumps(records))
  return str(path)


def convert(folder, *names, out=None, **options):
  options = Options(source=str(folder / "masklets"), **options)
  return convert_manifest(
    manifest(folder, *names), options, out=out and str(out), processes=1
  )


def labels_of(path, frames=FRAMES):
  return read_sidecars(*sidecar_paths(path), frames)


@pytest.mark.parametrize(
  "write",
  [
    lambda path: write_json(path.with_suffix(".json"), sa_v()),
    lambda path: write_json(path.with_name("a_auto.json"), sa_v()),
    lambda path: write_json(path.with_suffix(".json"), sa_v(compressed=True)),
    lambda path: write_json(path.with_suffix(".json"), by_object()),
    write_numbers,
    write_objects,
  ],
  ids=["frames", "auto", "compressed", "objects", "numbers", "folders"],
)
def test_every_layout_gives_the_same_tracks(folder, write):
  write(folder / "masklets" / "a")
  (outcome,) = convert(folder, "a.mp4")
  assert outcome.reason is None
  assert (outcome.made, outcome.tracks, outcome.dropped) == (True, 2, 0)
  assert np.array_equal(labels_of(folder / "a.mp4"), truth())


def test_the_order_of_objects_is_kept_and_the_smaller_is_in_front(folder):
  content = {key: by_object()[key] for key in ("cup", "7")}
  write_json(folder / "masklets" / "a.json", content)
  convert(folder, "a.mp4")
  swapped = np.array([1, 0, -1])[truth()]
  assert np.array_equal(labels_of(folder / "a.mp4"), swapped)


def test_folders_and_restart(folder, capsys):
  for name in ("a", "sub/b"):
    write_json(folder / "masklets" / f"{name}_manual.json", sa_v())
  command = ["data", "masklets", str(folder / "masklets"), manifest(folder)]
  assert cli.main([*command, "--processes", "1"]) == 0
  assert "tracks of 2 files made" in capsys.readouterr().out
  paths = list(folder.rglob("*.npz"))
  before = {path: os.stat(path).st_mtime_ns for path in paths}
  assert len(before) == 4
  assert cli.main([*command, "--processes", "1"]) == 0
  assert "2 were there, 0 broken; 2.0 tracks" in capsys.readouterr().out
  assert before == {path: os.stat(path).st_mtime_ns for path in paths}
  (outcome, _) = convert(folder, overwrite=True, max_tracks=1)
  assert (outcome.made, outcome.tracks, outcome.dropped) == (True, 1, 1)
  large = np.where(truth() == 1, 0, -1)
  assert np.array_equal(labels_of(folder / "a.mp4"), large)


def test_frames_without_annotation_are_refused(folder):
  write_json(folder / "masklets" / "a.json", sa_v(step=4))
  (outcome,) = convert(folder, "a.mp4")
  assert "3 annotated frames of a video of 12: --step says" in outcome.reason
  (outcome,) = convert(folder, "a.mp4", step=4)
  assert "3 of 12 frames are annotated: --fill says" in outcome.reason
  assert not list(folder.rglob("*.npz"))


@pytest.mark.parametrize(
  ("layout", "step"),
  [("json", 4), ("by_object", None), ("numbers", None), ("folders", None)],
)
def test_the_nearest_annotation(folder, layout, step):
  path = folder / "masklets" / "a"
  if layout == "json":
    write_json(path.with_suffix(".json"), sa_v(step=4))
  elif layout == "by_object":
    write_json(path.with_suffix(".json"), by_object(step=4))
  else:
    dict(numbers=write_numbers, folders=write_objects)[layout](path, step=4)
  convert(folder, "a.mp4", step=step, fill="nearest")
  nearest = [0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 8]
  assert np.array_equal(labels_of(folder / "a.mp4"), truth()[nearest])


def test_thinned_videos(folder):
  write_json(folder / "masklets" / "a.json", sa_v(step=4))
  write_json(folder / "masklets" / "sub" / "b.json", {"masklet": [[]]})
  out = folder / "out"
  good, broken = convert(folder, step=4, fill="thin", out=out)
  assert good.made
  assert broken.reason.endswith("sub/b.json: expected masks, got none")
  records = json.loads((out / "manifest.json").read_text())
  assert records == [{"video": "a.mp4", "caption": ["of a.mp4"], "label": 0}]
  info = probe(out / "a.mp4")
  assert (info.num_frames, info.fps) == (3, 6)
  frames, times = decode_frames(out / "a.mp4", [0, 1, 2])
  assert abs(frames.mean((1, 2, 3)) - [0, 80, 160]).max() < 3
  assert np.array_equal(labels_of(out / "a.mp4", 3), truth()[::4])
  clip = ClipSpec(frames=3, size=32, track_grid=16, max_tracks=4)
  source = VideoFiles(
    clip=clip, manifest=str(out / "manifest.json"), tracks="sidecar"
  )
  assert np.allclose(source.example(0, None).times, times)

  made = os.stat(out / "a.mp4").st_mtime_ns
  assert not convert(folder, step=4, fill="thin", out=out)[0].made
  assert os.stat(out / "a.mp4").st_mtime_ns == made
  # Masks of other frames: the video that is there is not theirs.
  write_json(folder / "masklets" / "a.json", sa_v(step=3))
  assert convert(folder, step=3, fill="thin", out=out)[0].made
  assert probe(out / "a.mp4").num_frames == 4
  assert np.array_equal(labels_of(out / "a.mp4", 4), truth()[::3])


def test_a_smaller_size(folder):
  write_json(folder / "masklets" / "a.json", sa_v())
  convert(folder, "a.mp4", size=16)
  small = truth()[:, ::2, ::2]
  assert np.array_equal(labels_of(folder / "a.mp4"), small)


def annotation(frames, count):
  return Annotation("x.json", frames, count, 2, lambda i: None)


def test_numbers_of_frames():
  assert frame_numbers(annotation(None, 3), 3, None).tolist() == [0, 1, 2]
  assert frame_numbers(annotation((1, 2, 3), 3), 3, None).tolist() == [0, 1, 2]
  assert frame_numbers(annotation((0, 4), 2), 9, None).tolist() == [0, 4]
  assert frame_numbers(annotation((0, 1), 2), 9, 8).tolist() == [0, 8]
  for frames, step, message in (
    (None, None, "--step says"),
    ((0, 1), None, "--step says"),
    ((0, 9), None, "got 0 to 9"),
    ((3, 3), None, "got 3 to 3"),
    (None, 9, "got 0 to 9"),
  ):
    with pytest.raises(BrokenClip, match=message):
      frame_numbers(annotation(frames, 2), 9, step)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", "a.json: expected JSON"),
    ("[]", "expected an object with masks"),
    ("{}", "expected one annotated frame or more"),
    ('{"masklet": [1]}', "masklet: expected a list of frames"),
    ('{"masklet": [[null]]}', "expected masks, got none"),
    ('{"masklet": [[{}]]}', "frame 0: a mask must be run lengths"),
    ('{"7": 1}', "object '7': expected masks by the numbers"),
    ('{"7": {"x": null}}', "expected the number of a frame, got 'x'"),
  ],
)
def test_json_that_is_no_annotation(tmp_path, content, message):
  path = tmp_path / "a.json"
  path.write_text(content)
  with pytest.raises(BrokenClip, match=message):
    read_json(path)


def test_masks_that_do_not_fit_are_named(folder):
  content = sa_v()
  content["masklet"][5][0] = {"size": [2, 2], "counts": [4]}
  write_json(folder / "masklets" / "a.json", content)
  (outcome,) = convert(folder, "a.mp4")
  assert "frame 5 has masks of the sizes [(2, 2), (32, 48)]" in outcome.reason
  content["masklet"][5] = [{"size": [2, 2], "counts": [4]}]
  write_json(folder / "masklets" / "a.json", content)
  (outcome,) = convert(folder, "a.mp4")
  assert "annotation 5 has the size (2, 2)" in outcome.reason
  assert not list(folder.glob("*.npz*"))


def test_folders_that_are_no_annotation(tmp_path):
  with pytest.raises(BrokenClip, match="got 0 images and 0 folders"):
    read_images(tmp_path)
  (tmp_path / "001").mkdir()
  with pytest.raises(BrokenClip, match=r"no image \(\*.png\) in its folders"):
    read_images(tmp_path)
  Image.new("RGB", (4, 4)).save(tmp_path / "001" / "0.png")
  with pytest.raises(BrokenClip, match=r"0.png: expected a mask.* mode RGB"):
    read_images(tmp_path).labels(0)
  (tmp_path / "001" / "0.png").write_bytes(b"no image")
  with pytest.raises(BrokenClip, match="0.png"):
    read_images(tmp_path).labels(0)
  Image.new("L", (4, 4)).save(tmp_path / "0.png")
  with pytest.raises(BrokenClip, match="got 1 images and 1 folders"):
    read_images(tmp_path)


def test_annotations_that_cannot_be_found(folder):
  (folder / "masklets").mkdir()
  (outcome,) = convert(folder, "a.mp4")
  assert "no a.json, a_manual.json, a_auto.json and no f" in outcome.reason
  for suffix in ("_manual", "_auto"):
    write_json(folder / "masklets" / f"a{suffix}.json", sa_v())
  (outcome,) = convert(folder, "a.mp4")
  assert "a_manual.json and a_auto.json are there" in outcome.reason
  assert convert(folder, "a.mp4", suffix="_auto")[0].reason is None
  (outcome,) = convert(folder, "none.mp4")
  assert outcome.reason and not outcome.made


def test_the_root_decides_where_masklets_are(folder):
  inner = folder / "lists" / "clips.json"
  for root, stem in ((folder, "sub/b"), ("/", str(folder / "sub/b")[1:])):
    write_json(inner, [{"video": str(folder / "sub/b.mp4")}])
    write_json(folder / "masklets" / f"{stem}.json", sa_v())
    options = Options(source=str(folder / "masklets"), overwrite=True)
    (outcome,) = convert_manifest(
      str(inner), options, root=str(root), processes=1
    )
    assert outcome.made
    (folder / "masklets" / f"{stem}.json").unlink()


def test_wrong_arguments(folder):
  with pytest.raises(ValueError, match="no folder of masklets"):
    convert(folder)
  (folder / "masklets").mkdir()
  for options in (dict(fill="thin"), dict(out=folder)):
    with pytest.raises(ValueError, match="goes with fill='thin' alone"):
      convert(folder, **options)
  path = folder / "parts.json"
  path.write_text(json.dumps([{"video": "a.mp4", "end": 0.2}]))
  options = Options(source=str(folder / "masklets"), fill="thin")
  with pytest.raises(ValueError, match="parts of videos cannot be thinned"):
    convert_manifest(str(path), options, out=str(folder), processes=1)
  with pytest.raises(ValueError, match="fill must be one of none, nearest, th"):
    Options(source="", fill="linear")
  for name in ("step", "size", "max_tracks"):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
      Options(source="", **{name: 0})


def test_images_have_no_masklets(folder):
  (folder / "masklets").mkdir()
  Image.new("RGB", (8, 8)).save(folder / "a.png")
  path = pathlib.Path(folder / "images.json")
  path.write_text(json.dumps([{"image": "a.png"}]))
  options = Options(source=str(folder / "masklets"))
  (outcome,) = convert_manifest(str(path), options, processes=1)
  assert outcome.reason == "masklets are of videos, this is an image"
