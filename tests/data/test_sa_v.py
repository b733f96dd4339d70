"""SA-V from tiny copies of its folders."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from run_length_encoder import coco

from trajvit.data import SOURCES, build_loader
from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.segmentation import SaV, SaVTrain

SPEC = ClipSpec(
  frames=3, size=32, track_grid=32, max_tracks=8, sampler="uniform"
)
FRAMES, STEP, SIDE = 17, 4, 32  # five annotated frames


def film():
  """Frames [T, H, W, 3] whose grey is ten times t, and two objects' masks.

  Object 0 is a part of object 1, which is gone in the last frame.
  """
  grey = (10 * np.arange(FRAMES)).astype(np.uint8)
  pixels = np.broadcast_to(
    grey[:, None, None, None], (FRAMES, SIDE, SIDE, 3)
  ).copy()
  masks = np.zeros((2, FRAMES, SIDE, SIDE), bool)
  for t in range(FRAMES):
    masks[0, t, 8:16, t : t + 8] = True
  masks[1, :-1, 4:24, 0:28] = True
  return pixels, masks


def expected(frames):
  _, masks = film()
  return np.where(masks[0], 0, np.where(masks[1], 1, -1))[frames]


def check(example):
  """It shows the first, the third and the last annotated frame."""
  frames = [0, 8, 16]
  np.testing.assert_allclose(example.times, np.array(frames) / 24)
  assert example.frames.shape == (3, SIDE, SIDE, 3)
  shade = example.frames.mean((1, 2, 3)) - 10 * np.array(frames)
  assert abs(shade).max() < 3
  assert np.array_equal(example.tracks, expected(frames))
  assert example.tracks.dtype == np.int32


@pytest.fixture
def folders(tmp_path):
  """The validation split: JPEG images and PNG masks."""
  pixels, masks = film()
  split = tmp_path / "sav_val"
  for name in ("sav_7", "sav_9"):
    images = split / "JPEGImages_24fps" / name
    images.mkdir(parents=True)
    for t, frame in enumerate(pixels):
      Image.fromarray(frame).save(images / f"{t:05d}.jpg", quality=95)
    for number, own in enumerate(masks):
      folder = split / "Annotations_6fps" / name / f"{number:03d}"
      folder.mkdir(parents=True)
      for t in range(0, FRAMES, STEP):
        if own[t].any():
          mask = Image.fromarray(own[t].astype(np.uint8))
          mask.save(folder / f"{t:05d}.png")
  (split / "sav_val.txt").write_text("sav_9\nsav_7\n")
  return tmp_path


@pytest.fixture
def videos(tmp_path):
  """Training videos: MP4 files and JSON beside them."""
  pixels, masks = film()
  rows = [
    [coco(own[t], compressed=True) for own in masks]
    for t in range(0, FRAMES, STEP)
  ]
  content = json.dumps({"video_frame_count": FRAMES, "masklet": rows})
  for name in ("sav_000/sav_000001", "sav_001/sav_001002"):
    path = tmp_path / "sav_train" / f"{name}.mp4"
    path.parent.mkdir(parents=True)
    write_video(path, pixels, fps=24)
    path.with_name(f"{path.stem}_manual.json").write_text(content)
  path.with_name(f"{path.stem}_auto.json").write_text(content)
  return tmp_path / "sav_train"


def val(root, **options):
  return SaV(clip=SPEC, root=str(root), counts=False, **options)


def train(root, **options):
  return SaVTrain(clip=SPEC, root=str(root), counts=False, **options)


def test_validation_clips_are_of_annotated_frames(folders):
  source = val(folders)
  assert [video.name for video in source.videos] == ["sav_9", "sav_7"]
  assert len(source.videos[0].frames) == 5
  check(source.example(1, None))
  assert source.example(1, None).name.endswith("sav_7")
  assert source.tracks_are_ground_truth


def test_training_clips_are_of_annotated_frames(videos):
  source = train(videos)
  assert [video.name for video in source.videos] == ["sav_000001", "sav_001002"]
  check(source.example(0, None))
  assert source.example(0, None).name.endswith("sav_000001.mp4")
  auto = train(videos, annotation="auto")
  assert [video.name for video in auto.videos] == ["sav_001002"]
  check(auto.example(0, None))


def test_training_frames_are_decoded_smaller(videos):
  small = ClipSpec(**{**vars(SPEC), "size": 8, "track_grid": 8})
  source = SaVTrain(clip=small, root=str(videos), counts=False)
  example = source.example(0, np.random.default_rng(0))
  assert example.frames.shape == (3, 8, 8, 3)
  assert np.array_equal(example.tracks, expected([0, 8, 16])[:, ::4, ::4])


def test_counts_of_the_release(folders, videos):
  message = "SA-V val: expected 155 videos, found 2; expected 293 masklets, f"
  with pytest.raises(ValueError, match=message):
    SaV(clip=SPEC, root=str(folders))
  for annotation, count in (("manual", 50583), ("auto", 48436)):
    message = f"SA-V train {annotation}: expected {count} videos"
    with pytest.raises(ValueError, match=message):
      SaVTrain(clip=SPEC, root=str(videos), annotation=annotation)


def test_files_that_are_missing(folders, videos):
  (folders / "sav_val/JPEGImages_24fps/sav_9/00008.jpg").unlink()
  with pytest.raises(BrokenClip, match="no .*00008.jpg"):
    val(folders).example(0, None)
  shutil.rmtree(folders / "sav_val/Annotations_6fps/sav_7")
  with pytest.raises(ValueError, match="no annotations in .*sav_7"):
    val(folders)
  with pytest.raises(ValueError, match="no list of videos: .*sav_test.txt"):
    val(folders, split="test")
  with pytest.raises(ValueError, match="must be one of val, test, got 'train'"):
    val(folders, split="train")
  (videos / "sav_000/sav_000001.mp4").unlink()
  with pytest.raises(BrokenClip, match="sav_000001.mp4"):
    train(videos).example(0, None)
  with pytest.raises(ValueError, match=r"no annotations \(\*_manual.json\)"):
    train(folders / "sav_val")
  with pytest.raises(ValueError, match="one of manual, auto, got 'both'"):
    train(videos, annotation="both")


def test_annotations_that_do_not_fit(folders, videos):
  mask = folders / "sav_val/Annotations_6fps/sav_9/000/00008.png"
  Image.new("L", (4, 4)).save(mask)
  with pytest.raises(BrokenClip, match="00008 has masks of the sizes"):
    val(folders).example(0, None)
  path = videos / "sav_000/sav_000001_manual.json"
  content = json.loads(path.read_text())
  content["masklet"].append(content["masklet"][0])
  path.write_text(json.dumps(content))
  with pytest.raises(BrokenClip, match="frame 20 is annotated, .* has 17"):
    train(videos).example(0, None)
  path.write_text("{")
  with pytest.raises(BrokenClip, match="manual.json: expected JSON"):
    train(videos).example(0, None)


def test_a_list_that_leads_elsewhere(folders):
  (folders / "sav_val/sav_val.txt").write_text("sav_7\n../../elsewhere\n")
  with pytest.raises(ValueError, match="sav_val.txt: .*'../../elsewhere'"):
    val(folders)


def test_fingerprints_tell_annotations(folders, videos):
  before = val(folders).fingerprint(), train(videos).fingerprint()
  assert before == (val(folders).fingerprint(), train(videos).fingerprint())
  (folders / "sav_val/Annotations_6fps/sav_9/000/00008.png").unlink()
  path = videos / "sav_000/sav_000001_manual.json"
  path.write_text(path.read_text() + " ")
  assert val(folders).fingerprint() != before[0]
  assert train(videos).fingerprint() != before[1]


def test_sa_v_through_the_loader(folders, videos):
  data = dict(batch_size=2, clip=vars(SPEC), loader=dict(num_threads=0))
  for name, root in (("sa_v", folders), ("sa_v_train", videos)):
    assert name in SOURCES
    spec = dict(name=name, root=str(root), counts=False)
    ((batch, info),) = build_loader(data, spec, seed=0).evaluate()
    assert batch.valid.all() and not info.skipped
    assert (batch.clip.tracks.max((1, 2, 3)) == 1).all()
