"""DAVIS, MOSE and YouTube-VIS from tiny copies of their folders."""

import functools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from run_length_encoder import coco

from trajvit.data import SOURCES, build_loader
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.sampling import uniform
from trajvit.data.segmentation import Davis2017, Mose, YouTubeVis

SPEC = ClipSpec(
  frames=4, size=32, track_grid=16, max_tracks=8, sampler="uniform"
)
FRAMES, HEIGHT, WIDTH = 10, 32, 48
# Copies of two or three videos.
DAVIS = functools.partial(Davis2017, counts=False)
MOSE = functools.partial(Mose, counts=False)
YOUTUBE = functools.partial(YouTubeVis, counts=False)


def film(number, frames=FRAMES):
  """Grey frames with two bright squares, and the number of each pixel.

  Object 1 moves right along the top, object 2 rests below and hides from the
  sixth frame on; the last rows are void.
  """
  pixels = np.full((frames, HEIGHT, WIDTH, 3), number, np.uint8)
  numbers = np.zeros(pixels.shape[:3], np.uint8)
  for t in range(frames):
    numbers[t, 0:12, 2 * t : 2 * t + 16] = 1
    if t < 6:
      numbers[t, 16:28, 24:40] = 2
  pixels[numbers == 1], pixels[numbers == 2] = 200, 120
  numbers[:, 30:] = 255
  return pixels, numbers


def write_frames(folder, pixels, suffix=".jpg", step=1):
  folder.mkdir(parents=True)
  for t, frame in enumerate(pixels):
    image = Image.fromarray(frame)
    if frame.ndim == 2:
      image = image.convert("P")
      image.putpalette([i * 7 % 256 for i in range(768)])
    image.save(folder / f"{t * step:05d}{suffix}", quality=95)


def mask_folders(images, masks, names):
  for i, name in enumerate(names):
    pixels, numbers = film(10 * i)
    write_frames(images / name, pixels)
    write_frames(masks / name, numbers, ".png")


@pytest.fixture
def davis(tmp_path):
  """A validation set of two videos, and a third that is not in it."""
  names = ["bear", "goat", "train-only"]
  mask_folders(
    tmp_path / "JPEGImages" / "480p", tmp_path / "Annotations" / "480p", names
  )
  lists = tmp_path / "ImageSets" / "2017"
  lists.mkdir(parents=True)
  (lists / "val.txt").write_text("goat\nbear\n")
  return tmp_path


@pytest.fixture
def mose(tmp_path):
  valid = tmp_path / "valid"
  mask_folders(valid / "JPEGImages", valid / "Annotations", ["a1", "b2"])
  return tmp_path


@pytest.fixture
def youtube(tmp_path):
  """Two videos with objects, the annotations interleaved, and one without."""
  videos, annotations = [], []
  for i, name in enumerate(["v0", "v1", "v2"]):
    pixels, _ = film(10 * i)
    write_frames(tmp_path / "JPEGImages" / name, pixels, step=5)
    names = [f"{name}/{5 * t:05d}.jpg" for t in range(FRAMES)]
    videos.append({"id": 7 + i, "file_names": names, "length": FRAMES})
  for number in (1, 2):
    for i in (0, 2):
      masks = film(0)[1] == number
      if number == 2:
        masks[0] |= film(0)[1][0] == 1  # over object 1, in the first frame
      segmentations = [coco(mask) if mask.any() else None for mask in masks]
      annotations.append(
        {"video_id": 7 + i, "category_id": 3, "segmentations": segmentations}
      )
  path = tmp_path / "instances.json"
  path.write_text(json.dumps({"videos": videos, "annotations": annotations}))
  return path


def check(example, indices):
  """The tracks of an example are those of the film at `indices`."""
  _, numbers = film(0)
  truth = numbers[indices].astype(int) - 1
  truth[truth == 254] = -1
  rows = np.arange(16) * HEIGHT // 16
  columns = np.arange(16) * WIDTH // 16
  expected = truth[:, rows[:, None], columns]
  np.testing.assert_array_equal(example.tracks, expected)
  assert example.tracks.dtype == np.int32
  assert example.frames.shape == (4, 32, 32, 3)
  bright = example.frames[:, ::2, ::2].astype(int).mean(-1) > 160
  agree = bright == (example.tracks == 0)
  assert agree.mean() > 0.95  # but for the borders


def test_davis(davis):
  source = DAVIS(clip=SPEC, root=str(davis))
  assert [video.name for video in source.videos] == ["goat", "bear"]
  indices = uniform(FRAMES, 4)
  for i in range(2):
    example = source.example(i, None)
    check(example, indices)
    np.testing.assert_allclose(example.times, indices / 24, rtol=1e-6)
    assert (example.clip_id, example.label, example.captions) == (i, -1, ())
  assert example.name.endswith("bear")
  assert example.frames[0, -1, 0].mean() < 5  # bear is the darker one
  assert source.tracks_are_ground_truth and not source.has_captions


def test_frames_are_those_of_the_sampler(davis):
  """Without chance in the evaluation view, whatever the sampler."""
  for name, indices in {
    "middle": [0, 3, 5, 8],
    "random_segment": [0, 3, 5, 8],
    "uniform": [0, 3, 6, 9],
  }.items():
    spec = ClipSpec(**{**vars(SPEC), "sampler": name})
    check(
      DAVIS(clip=spec, root=str(davis)).example(0, None),
      indices,
    )
  drawn = DAVIS(
    clip=ClipSpec(**{**vars(SPEC), "sampler": "random_segment"}),
    root=str(davis),
  )
  times = {
    tuple(drawn.example(0, np.random.default_rng(i)).times) for i in range(9)
  }
  assert len(times) > 3


def test_a_short_video_repeats_frames(davis):
  for root in ("JPEGImages", "Annotations"):
    for path in sorted((davis / root / "480p" / "goat").iterdir())[2:]:
      path.unlink()
  example = DAVIS(clip=SPEC, root=str(davis)).example(0, None)
  check(example, [0, 0, 1, 1])


def test_tracks_follow_the_pixels_under_augmentation(davis):
  spec = ClipSpec(**{**vars(SPEC), "augment": "crop_flip"})
  source = DAVIS(clip=spec, root=str(davis))
  seen = set()
  for seed in range(8):
    example = source.example(0, np.random.default_rng(seed))
    grey = example.frames[:, ::2, ::2].astype(int).mean(-1)
    for shade in (200, 120):
      label = example.tracks[abs(grey - shade) < 8]  # away from borders
      if len(label) > 60:
        found, count = np.unique(label, return_counts=True)
        assert count.max() > 0.85 * len(label)
        assert found[count.argmax()] >= 0
        seen.add((seed, shade))
  assert len(seen) > 8


def test_the_largest_objects_are_kept(davis):
  spec = ClipSpec(**{**vars(SPEC), "max_tracks": 1})
  example = DAVIS(clip=spec, root=str(davis)).example(0, None)
  assert example.dropped_tracks == 1
  assert set(np.unique(example.tracks)) == {-1, 0}
  assert (example.tracks[-1] == 0).any()  # object 1, which is always there


def test_mose_frames_without_annotation_are_empty(mose):
  source = MOSE(clip=SPEC, root=str(mose))
  assert [video.name for video in source.videos] == ["a1", "b2"]
  check(source.example(0, None), uniform(FRAMES, 4))
  for frame in (3, 9):
    (mose / "valid" / "Annotations" / "a1" / f"{frame:05d}.png").unlink()
  tracks = source.example(0, None).tracks
  assert (tracks[[1, 3]] == -1).all()
  assert (tracks[[0, 2]] >= 0).any((1, 2)).all()


def test_youtube_vis(youtube):
  source = YOUTUBE(clip=SPEC, annotations=str(youtube))
  assert [video.name for video in source.videos] == ["v0", "v2"]
  example = source.example(1, None)
  np.testing.assert_allclose(example.times, uniform(FRAMES, 4) / 6, rtol=1e-6)
  later = example.tracks[0].copy()
  assert (later == 1).any() and not (later == 0).any()  # the later one wins
  later[:8] = np.where(later[:8] == 1, 0, later[:8])
  fixed = np.concatenate([later[None], example.tracks[1:]])
  check(type(example)(**{**vars(example), "tracks": fixed}), uniform(FRAMES, 4))


def test_youtube_vis_in_another_folder(youtube, tmp_path):
  elsewhere = tmp_path / "elsewhere"
  shutil.move(tmp_path / "JPEGImages", elsewhere)
  with pytest.raises(ValueError, match="missing: .*JPEGImages"):
    YOUTUBE(clip=SPEC, annotations=str(youtube))
  source = YouTubeVis(
    counts=False, clip=SPEC, annotations=str(youtube), images=str(elsewhere)
  )
  assert source.example(0, None).frames.shape == (4, 32, 32, 3)


def test_missing_files_are_named(davis):
  source = DAVIS(clip=SPEC, root=str(davis))
  for frame in (0, 3, 9):
    (davis / "Annotations/480p/goat" / f"{frame:05d}.png").unlink()
  with pytest.raises(BrokenClip, match="goat: no .*00000.png, .*3.png, .*9.p"):
    source.example(0, None)
  for frame in range(10):
    (davis / "JPEGImages/480p/bear" / f"{frame:05d}.jpg").unlink()
  with pytest.raises(BrokenClip, match="bear: no .*00000.jpg, .*00003.jpg"):
    source.example(1, None)
  with pytest.raises(ValueError, match="no frames .* in .*bear"):
    DAVIS(clip=SPEC, root=str(davis))
  shutil.rmtree(davis / "JPEGImages/480p/bear")
  (davis / "ImageSets/2017/val.txt").write_text("bear\ngoat\nx1\nx2\nx3\n")
  with pytest.raises(ValueError) as caught:
    DAVIS(clip=SPEC, root=str(davis))
  assert re.match("7 folders missing: .* and 3 more$", str(caught.value))
  with pytest.raises(ValueError, match=r"no list of videos: .*test-dev\.txt"):
    DAVIS(clip=SPEC, root=str(davis), split="test-dev")
  shutil.rmtree(davis / "Annotations")
  with pytest.raises(ValueError, match="1 folders missing: .*Annotations"):
    DAVIS(clip=SPEC, root=str(davis))


def test_a_missing_split(mose):
  with pytest.raises(ValueError, match="2 folders missing: .*train/JPEGImages"):
    MOSE(clip=SPEC, root=str(mose), split="train")
  with pytest.raises(ValueError, match="fps must be positive, got 0"):
    MOSE(clip=SPEC, root=str(mose), fps=0)


def test_annotations_that_are_wrong_break_the_clip(davis):
  source = DAVIS(clip=SPEC, root=str(davis))
  path = davis / "Annotations/480p/goat/00003.png"
  Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)
  with pytest.raises(BrokenClip, match="palette or grey image .* mode RGB"):
    source.example(0, None)
  Image.fromarray(np.zeros((HEIGHT, 8), np.uint8)).save(path)
  with pytest.raises(BrokenClip, match=r"it is \(32, 8\), its frame \(32, 48"):
    source.example(0, None)
  path.write_text("not an image")
  with pytest.raises(BrokenClip, match="cannot identify"):
    source.example(0, None)
  small = np.zeros((8, 8, 3), np.uint8)
  Image.fromarray(small).save(davis / "JPEGImages/480p/bear/00003.jpg")
  with pytest.raises(BrokenClip, match="frames of several sizes"):
    source.example(1, None)


def test_masks_that_are_wrong_break_the_clip(youtube):
  data = json.loads(youtube.read_text())
  masks = data["annotations"][0]["segmentations"]
  for mask, message in (
    ({"size": [4, 4], "counts": [16]}, r"object 0 in frame 3 is \(4, 4\)"),
    ([[0, 0, 1, 0, 1, 1]], "object 0 in frame 3: a mask must be run lengths"),
    ({"size": [4], "counts": [16]}, "object 0 in frame 3: not enough values"),
  ):
    masks[3] = mask
    youtube.write_text(json.dumps(data))
    source = YOUTUBE(clip=SPEC, annotations=str(youtube))
    with pytest.raises(BrokenClip, match=message):
      source.example(0, None)
  del masks[3:]  # fewer masks than frames: the object is gone
  youtube.write_text(json.dumps(data))
  example = YouTubeVis(
    counts=False, clip=SPEC, annotations=str(youtube)
  ).example(0, None)
  assert (example.tracks[1:] <= 0).all()


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({"videos": []}, "expected videos with id and file_names"),
    ({"videos": [], "annotations": None}, "are not public"),
    ([], "expected videos with id"),
    ({"videos": [{"id": 1}], "annotations": [{}]}, "KeyError 'video_id'"),
    (
      {
        "videos": [{"id": 1, "file_names": []}],
        "annotations": [{"video_id": 1, "segmentations": []}],
      },
      "video 1 has no frames",
    ),
    (
      {
        "videos": [{"id": 1, "file_names": ["a/0.jpg"]}],
        "annotations": [{"video_id": 2, "segmentations": []}],
      },
      "none of 1 videos has an object",
    ),
  ],
)
def test_files_that_are_no_annotations(youtube, content, message):
  youtube.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=f"instances.json: .*{message}"):
    YOUTUBE(clip=SPEC, annotations=str(youtube))


def test_names_that_lead_elsewhere(davis, youtube):
  (davis / "ImageSets/2017/val.txt").write_text("goat\n../../../etc\n")
  with pytest.raises(ValueError, match="inside of .*, got '../../../etc'"):
    DAVIS(clip=SPEC, root=str(davis))
  data = json.loads(youtube.read_text())
  data["videos"][0]["file_names"][1] = "/etc/passwd"
  youtube.write_text(json.dumps(data))
  with pytest.raises(ValueError, match="inside of .*, got '/etc/passwd'"):
    YOUTUBE(clip=SPEC, annotations=str(youtube))
  data["videos"][0]["file_names"][1] = 7
  youtube.write_text(json.dumps(data))
  with pytest.raises(ValueError, match="video 7: expected names of frames"):
    YOUTUBE(clip=SPEC, annotations=str(youtube))


def test_counts_of_the_releases(davis, mose, youtube):
  """All three are held to them unless told otherwise."""
  for make, message in (
    (lambda: Davis2017(clip=SPEC, root=str(davis)), "DAVIS-2017 val: .* 30"),
    (lambda: Mose(clip=SPEC, root=str(mose)), "MOSE valid: expected 311 vid"),
    (
      lambda: YouTubeVis(clip=SPEC, annotations=str(youtube)),
      "YouTube-VIS 2019: expected 2238 videos, found 3; expected 40 categor",
    ),
    (
      lambda: YouTubeVis(clip=SPEC, annotations=str(youtube), release="2021"),
      "YouTube-VIS 2021: expected 2985 videos, found 3",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      make()
  lists = davis / "ImageSets" / "2017"
  (lists / "mine.txt").write_text("goat\n")
  with pytest.raises(ValueError, match="counts are known of train, val, test"):
    Davis2017(clip=SPEC, root=str(davis), split="mine")
  assert len(DAVIS(clip=SPEC, root=str(davis), split="mine")) == 1
  with pytest.raises(ValueError, match="release must be one of 2019, 2021, go"):
    YOUTUBE(clip=SPEC, annotations=str(youtube), release="2022")


def test_fingerprints(davis, youtube):
  def print_of(**options):
    return Davis2017(
      counts=False, clip=SPEC, root=str(davis), **options
    ).fingerprint()

  first = print_of()
  assert first == print_of()
  path = davis / "Annotations/480p/goat/00003.png"
  path.write_bytes(path.read_bytes() + b"more")
  second = print_of()
  path = davis / "JPEGImages/480p/goat/00003.jpg"
  path.write_bytes(path.read_bytes() + b"more")
  assert len({first, second, print_of()}) == 3

  def of_json():
    source = YOUTUBE(clip=SPEC, annotations=str(youtube))
    return source.fingerprint()

  before = of_json()
  youtube.write_text(youtube.read_text().replace("3", "4", 1))
  assert of_json() != before


def test_through_the_loader(davis, mose, youtube):
  """By name, as in a config; a broken clip is reported and not replaced."""
  (davis / "Annotations/480p/goat/00003.png").unlink()
  data = dict(batch_size=3, clip=vars(SPEC), loader=dict(num_threads=0))
  for spec, missing in (
    (dict(name="davis_2017", counts=False, root=str(davis)), 1),
    (dict(name="mose", counts=False, root=str(mose)), 0),
    (dict(name="youtube_vis", counts=False, annotations=str(youtube)), 0),
  ):
    assert spec["name"] in SOURCES
    ((batch, info),) = build_loader(data, spec, seed=0).evaluate()
    assert batch.clip.tracks.shape == (3, 4, 16, 16)
    assert batch.valid.sum() == 2 - missing
    assert len(info.skipped) == missing
    assert batch.text is None
