"""One clip, however it is stored: the same frames, times and tracks."""

import io

import numpy as np
import pytest
from PIL import Image

from trajvit.data.clips import ClipReader, StoredClip
from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.media import Blob
from trajvit.data.tracks import write_sidecars

SPEC = ClipSpec(frames=4, size=32, track_grid=8, max_tracks=4)
FPS = 8.0


def _frames(count):
  """Frames whose grey tells their number."""
  grey = np.arange(count, dtype=np.uint8)[:, None, None, None] * 10
  return np.broadcast_to(grey, (count, 32, 32, 3)).copy()


def _numbers(example):
  return np.round(example.frames.mean((1, 2, 3)) / 10).astype(int).tolist()


@pytest.fixture(name="video")
def _video(tmp_path):
  write_video(tmp_path / "a.mp4", _frames(24), FPS)
  labels = np.broadcast_to(np.arange(8) // 4, (24, 8, 8)).astype(np.int32)
  write_sidecars(
    str(tmp_path / "a_mask.npz"), str(tmp_path / "a_graph.npz"), labels
  )
  return tmp_path / "a.mp4"


def _stored(media, **kwargs):
  return StoredClip(name="a", media=media, is_image=False, clip_id=0, **kwargs)


def test_a_file_in_memory_is_a_file(video):
  pair = [video.with_name(name) for name in ("a_mask.npz", "a_graph.npz")]
  blobs = [Blob(path.name, path.read_bytes()) for path in (video, *pair)]
  reader = ClipReader(SPEC, "sidecar")
  for rng in (None, 3):
    one, two = (
      reader.read(
        _stored(media, sidecars=lambda pair=pair: tuple(pair)),
        rng and np.random.default_rng(rng),
      )
      for media, pair in ((str(video), map(str, pair)), (blobs[0], blobs[1:]))
    )
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.tracks, two.tracks)
    np.testing.assert_array_equal(one.times, two.times)
    assert one.tracks.max() == 1


def test_a_clip_is_the_part_of_its_video_between_start_and_end(video):
  reader = ClipReader(SPEC, "none")
  parts = ((1, 2, 8, 15), (0.3, 0.9, 3, 7), (2, None, 16, 23))
  for start, end, first, last in parts:
    for media in (str(video), _frames(24)):
      stored = _stored(media, start=start, end=end, fps=FPS)
      example = reader.read(stored, None)
      expected = first + np.arange(4) * (last - first + 1) // 4
      numbers = _numbers(example)
      assert first <= min(numbers) and max(numbers) <= last
      assert np.abs(np.array(numbers) - expected).max() <= 1
      np.testing.assert_allclose(example.times, np.array(numbers) / FPS)
  with pytest.raises(BrokenClip, match="begins at 3 s, and the video has 3 s"):
    reader.read(_stored(str(video), start=3.0), None)
  one = reader.read(_stored(str(video), start=1.0, end=1.01), None)
  assert _numbers(one) == [8] * 4  # what is on screen at its start


def test_tracks_of_a_whole_video_serve_its_parts(video):
  reader = ClipReader(SPEC, "sidecar")
  mask = video.with_name("a_mask.npz")
  labels = np.zeros((24, 8, 8), np.int32)
  labels[8:] = 1
  write_sidecars(str(mask), str(video.with_name("a_graph.npz")), labels)
  pair = str(mask), str(video.with_name("a_graph.npz"))
  stored = _stored(str(video), start=0.5, end=1.5, sidecars=lambda: pair)
  example = reader.read(stored, None)
  numbers = np.array(_numbers(example))
  np.testing.assert_array_equal(example.tracks[:, 0, 0], numbers >= 8)


def test_an_image_is_repeated_or_single():
  file = io.BytesIO()
  Image.fromarray(_frames(2)[1]).save(file, "PNG")
  stored = StoredClip("i", Blob("i.png", file.getvalue()), True, 0)
  repeated = ClipReader(SPEC, "none").read(stored, None)
  assert repeated.frame_mask is None
  single = ClipSpec(**{**vars(SPEC), "images": "single"})
  example = ClipReader(single, "none").read(stored, None)
  assert example.frame_mask.tolist() == [True, False, False, False]
  np.testing.assert_array_equal(example.frames, repeated.frames)
  with pytest.raises(ValueError, match="images must be"):
    ClipSpec(**{**vars(SPEC), "images": "once"})


def test_an_evaluation_looks_where_it_is_told(video):
  wide = np.zeros((24, 32, 64, 3), np.uint8)
  wide += np.arange(64, dtype=np.uint8)[:, None] * 4  # grey tells the column
  stored = _stored(wide)
  for place, first in ((0.0, 0), (0.5, 16), (1.0, 32)):
    spec = ClipSpec(**{**vars(SPEC), "view": (None, place)})
    frames = ClipReader(spec, "none").read(stored, None).frames
    assert (frames[0, 0, :, 0] == (first + np.arange(32)) * 4).all()
  for sampler in ("middle", "strided"):
    for place in (0.0, 1.0):
      spec = ClipSpec(
        **{**vars(SPEC), "sampler": sampler, "view": (place, None)}
      )
      numbers = _numbers(
        ClipReader(spec, "none").read(_stored(_frames(24)), None)
      )
      if sampler == "middle":  # intervals of 6 frames
        assert numbers == [int(place * 5) + 6 * i for i in range(4)]
      else:  # the largest stride, 7, of 24 frames leaves 3 starts
        assert numbers == [int(place * 2) + 7 * i for i in range(4)]
  spec = ClipSpec(**{**vars(SPEC), "sampler": "uniform", "view": (0.0, None)})
  with pytest.raises(ValueError, match="one view in time"):
    ClipReader(spec, "none").read(_stored(str(video)), None)
  for wrong in ((2.0, None), (0.5,)):
    with pytest.raises(ValueError, match="view must be"):
      ClipSpec(**{**vars(SPEC), "view": wrong})
