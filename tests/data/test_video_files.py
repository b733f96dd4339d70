"""VideoFiles: clips of real files, their tracks, and what is broken."""

import json
import re
import sys
import types

import numpy as np
import pytest
from PIL import Image
from test_loader import FakeSource

from trajvit.data import Loader
from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.sampling import middle
from trajvit.data.tracks import sidecar_paths, write_sidecars
from trajvit.data.video_files import VideoFiles

SPEC = ClipSpec(frames=4, size=32, track_grid=16, max_tracks=8)
FRAMES, HEIGHT, WIDTH = 20, 48, 64


def _film(frames=FRAMES):
  """Frames whose grey is 10 x their number, and a bright square that moves.

  Returns the pixels and the label map: the square is track 1 and the rest 0.
  """
  pixels = np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)
  pixels += np.arange(frames, dtype=np.uint8)[:, None, None, None] * 10
  labels = np.zeros(pixels.shape[:3], np.int32)
  for t in range(frames):
    square = slice(8, 32), slice(t * 2, t * 2 + 24)
    pixels[t][square], labels[t][square] = 255, 1
  return pixels, labels


def _video(folder, name="a.mp4", tracks=None):
  pixels, labels = _film()
  path = folder / name
  write_video(path, pixels, 10)
  if tracks is not None:
    write_sidecars(*sidecar_paths(path), labels[tracks])
  return path


def _source(folder, records, spec=SPEC, **options):
  path = folder / "clips.json"
  path.write_text(json.dumps(records))
  return VideoFiles(clip=spec, manifest=str(path), **options)


def _replace(spec=SPEC, **values):
  return ClipSpec(**{**vars(spec), **values})


def _numbers(example):
  """Which frames of the film an example shows, by the grey of a corner."""
  return np.round(example.frames[:, -1, 0].mean(-1) / 10).astype(int).tolist()


def test_evaluation_view(tmp_path):
  _video(tmp_path)
  record = {"video": "a.mp4", "caption": ["x", "y"], "label": 2}
  example = _source(tmp_path, [record], tracks="none").example(0, None)
  assert example.frames.shape == (4, 32, 32, 3)
  assert example.frames.dtype == np.uint8
  assert _numbers(example) == middle(FRAMES, 4).tolist()
  np.testing.assert_allclose(example.times, middle(FRAMES, 4) / 10, rtol=1e-5)
  assert example.tracks is None and example.dropped_tracks == 0
  assert example.captions == ("x", "y")
  assert (example.clip_id, example.label) == (0, 2)
  assert example.name == str(tmp_path / "a.mp4")


def test_evaluation_never_samples_at_random(tmp_path):
  _video(tmp_path)
  spec = _replace(sampler="random_segment", augment="crop_flip")
  plain = _source(tmp_path, [{"video": "a.mp4"}], tracks="none")
  random = _source(tmp_path, [{"video": "a.mp4"}], spec, tracks="none")
  np.testing.assert_array_equal(
    plain.example(0, None).frames, random.example(0, None).frames
  )


def test_training_examples(tmp_path):
  """A function of the generator alone: frames, crop, and one caption."""
  _video(tmp_path)
  spec = _replace(sampler="random_segment", augment="crop_flip")
  captions = ["x", "y", "z"]
  record = {"video": "a.mp4", "caption": captions}
  source = _source(tmp_path, [record], spec, tracks="none")
  drawn, seen = set(), set()
  for seed in range(20):
    one, two = (source.example(0, np.random.default_rng(seed)) for _ in "ab")
    np.testing.assert_array_equal(one.frames, two.frames)
    assert one.captions == two.captions and len(one.captions) == 1
    drawn |= set(one.captions)
    seen.add(tuple(one.times.tolist()))
  assert drawn == set(captions)
  assert len(seen) > 10


def test_records_of_one_video_match(tmp_path):
  records = [{"video": f"{name}.mp4"} for name in "babc"]
  for name in "abc":
    _video(tmp_path, f"{name}.mp4")
  source = _source(tmp_path, records, tracks="none")
  assert len(source) == 4
  ids = [source.example(i, None).clip_id for i in range(4)]
  assert ids == [1, 0, 1, 2]
  example = source.example(0, np.random.default_rng(0))
  assert example.captions == () and example.label == -1


@pytest.mark.parametrize("sampler", ["middle", "random_segment", "strided"])
@pytest.mark.parametrize("augment", ["none", "center_crop", "crop_flip"])
def test_tracks_follow_the_pixels(tmp_path, sampler, augment):
  """Track 1 is where the frames are bright, whatever is drawn."""
  _video(tmp_path, tracks=slice(None))
  spec = _replace(sampler=sampler, augment=augment)
  source = _source(tmp_path, [{"video": "a.mp4"}], spec, tracks="sidecar")
  agree, cells = 0, 0
  for seed in range(10):
    example = source.example(0, np.random.default_rng(seed))
    assert example.tracks.shape == (4, 16, 16)
    assert example.tracks.dtype == np.int32
    if example.tracks.max() == 0:
      continue  # one of the two is out of view
    bright = example.frames.min(-1).reshape(4, 16, 2, 16, 2)
    grey = 100 * example.times[:, None, None]
    inside = bright.min((2, 4)) > 250
    outside = bright.max((2, 4)) < grey + 10  # neither is at the edge
    agree += (example.tracks == 1)[inside].sum()
    agree += (example.tracks == 0)[outside].sum()
    cells += inside.sum() + outside.sum()
  assert cells > 2000 and agree / cells > 0.999


def test_tracks_of_sampled_frames(tmp_path):
  """A pair of T frames is of the middle ones, which are then the clip."""
  chosen = middle(FRAMES, 4)
  _video(tmp_path, "b_short.mp4", tracks=chosen)
  spec = _replace(sampler="random_segment")
  source = _source(tmp_path, [{"video": "b_short.mp4"}], spec)
  example = source.example(0, np.random.default_rng(0))
  assert _numbers(example) == chosen.tolist()
  for t, index in enumerate(chosen):
    columns = np.flatnonzero((example.tracks[t] == 1).any(0)) * WIDTH / 16
    assert columns.min() == pytest.approx(index * 2, abs=4)
  assert source.extracted == 0


def test_tracks_named_in_the_manifest(tmp_path):
  _video(tmp_path)
  (tmp_path / "t").mkdir()
  pair = str(tmp_path / "t" / "m.npz"), str(tmp_path / "t" / "g.npz")
  record = {"video": "a.mp4", "mask": "t/m.npz", "graph": pair[1]}
  for tracks in "auto", "sidecar":  # named, and not there
    with pytest.raises(BrokenClip, match="no sidecar .*m.npz and .*g.npz"):
      _source(tmp_path, [record], tracks=tracks).example(0, None)
  write_sidecars(*pair, _film()[1])
  example = _source(tmp_path, [record]).example(0, None)
  assert set(np.unique(example.tracks)) == {0, 1}


def test_tracks_beyond_the_limit_are_counted(tmp_path):
  path = _video(tmp_path)
  labels = np.tile(np.arange(12, dtype=np.int32), (FRAMES, 12, 1))
  write_sidecars(*sidecar_paths(path), labels)
  example = _source(tmp_path, [{"video": "a.mp4"}]).example(0, None)
  assert example.dropped_tracks == 4 and example.tracks.max() == 7


@pytest.mark.parametrize(
  ("count", "message"),
  [
    (5, "5 frames of tracks for a clip of 4 from a video of 20"),
    (None, "no si"),
  ],
)
def test_sidecars_that_do_not_fit(tmp_path, count, message):
  tracks = None if count is None else slice(count)
  _video(tmp_path, tracks=tracks)
  source = _source(tmp_path, [{"video": "a.mp4"}], tracks="sidecar")
  with pytest.raises(BrokenClip, match=message) as error:
    source.example(0, None)
  assert error.value.name == str(tmp_path / "a.mp4")
  assert "a_mask.npz" in error.value.reason


def test_sidecars_that_contradict_themselves(tmp_path):
  path = _video(tmp_path)
  mask, graph = sidecar_paths(path)
  np.savez(mask, np.ones((4, 8, 8), np.uint8))
  np.savez(graph, tensor=np.ones((2, 4), np.int64))
  source = _source(tmp_path, [{"video": "a.mp4"}])
  with pytest.raises(BrokenClip, match=r"id 1 of frame 0 is in rows \[0, 1\]"):
    source.example(0, None)


@pytest.fixture
def extractor(monkeypatch):
  """An extractor whose tracks are four columns, and what it was asked."""
  calls = []

  def extract_tracks(frames, *, max_tracks):
    calls.append((frames.shape, max_tracks))
    columns = np.arange(frames.shape[2]) * 4 // frames.shape[2]
    return np.broadcast_to(columns, frames.shape[:3]).astype(np.int32)

  module = types.ModuleType("trajvit.data.extract")
  module.extract_tracks = extract_tracks
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", module)
  return calls


def test_extraction_where_there_is_no_pair(tmp_path, extractor, caplog):
  _video(tmp_path, "a.mp4", tracks=slice(None))
  _video(tmp_path, "b.mp4")
  source = _source(tmp_path, [{"video": "a.mp4"}, {"video": "b.mp4"}])
  source.example(0, None)
  assert source.extracted == 0 and not extractor
  for _ in range(3):
    example = source.example(1, np.random.default_rng(0))
  assert example.tracks.dtype == np.int32
  assert (example.tracks == np.arange(16) // 4).all()
  assert extractor == [((4, 32, 32, 3), 8)] * 3
  assert source.extracted == 1  # one clip, however often
  warnings = [
    r.getMessage() for r in caplog.records if r.levelname == "WARNING"
  ]
  assert len(warnings) == 1 and "b.mp4" in warnings[0]
  assert "`trajvit data tracks`" in warnings[0]


def test_extraction_though_there_is_a_pair(tmp_path, extractor):
  _video(tmp_path, tracks=slice(None))
  source = _source(tmp_path, [{"video": "a.mp4"}], tracks="extract")
  assert source.example(0, None).tracks.max() == 3
  assert len(extractor) == 1


def test_extraction_without_its_packages(tmp_path, monkeypatch):
  _video(tmp_path)
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", None)
  source = _source(tmp_path, [{"video": "a.mp4"}], tracks="extract")
  with pytest.raises(ValueError, match=re.escape("trajvit[tracks]")):
    source.example(0, None)


def test_an_image_is_a_clip_of_one_frame_repeated(tmp_path, extractor):
  pixels, labels = _film()
  Image.fromarray(pixels[3]).save(tmp_path / "a.png")
  records = [{"image": "a.png", "caption": "still"}]
  example = _source(tmp_path, records).example(0, None)
  assert example.frames.shape == (4, 32, 32, 3)
  assert (example.frames == example.frames[:1]).all()
  assert (example.times == 0).all() and example.times.shape == (4,)
  assert example.tracks.shape == (4, 16, 16)
  assert extractor == [((1, 32, 32, 3), 8)]

  np.savez(tmp_path / "a_mask.npz", (labels[3] + 1).astype(np.uint8))
  example = _source(tmp_path, records).example(0, None)
  assert set(np.unique(example.tracks)) == {0, 1}
  assert (example.tracks == example.tracks[:1]).all()
  assert len(extractor) == 1
  (tmp_path / "a.png").write_bytes(b"")
  with pytest.raises(BrokenClip, match="cannot identify"):
    _source(tmp_path, records).example(0, None)


def test_short_video_repeats_frames(tmp_path):
  write_video(tmp_path / "a.mp4", _film(2)[0] + 0, 10)
  source = _source(tmp_path, [{"video": "a.mp4"}], tracks="none")
  assert _numbers(source.example(0, None)) == [0, 0, 1, 1]


def test_large_videos_are_shrunk_while_decoding(tmp_path, monkeypatch):
  _video(tmp_path)
  spec = _replace(size=16, track_grid=8)
  source = _source(tmp_path, [{"video": "a.mp4"}], spec, tracks="none")
  shapes = []
  apply_view = sys.modules["trajvit.data.transforms"].apply_view

  def spy(view, frames, *args, **kwargs):
    shapes.append(frames.shape)
    return apply_view(view, frames, *args, **kwargs)

  monkeypatch.setattr("trajvit.data.transforms.apply_view", spy)
  source.example(0, None)
  assert shapes == [(4, 32, 43, 3)]


def test_three_good_and_three_bad_files(tmp_path):
  good = [_video(tmp_path, f"{i}.mp4") for i in range(3)]
  (tmp_path / "text.mp4").write_text("no video at all" * 100)
  (tmp_path / "zero.mp4").touch()
  half = good[0].stat().st_size // 2
  (tmp_path / "cut.mp4").write_bytes(good[0].read_bytes()[:half])
  names = ["0", "text", "1", "cut", "2", "zero", "missing"]
  source = _source(
    tmp_path, [{"video": f"{name}.mp4"} for name in names], tracks="none"
  )
  broken = {}
  for i, name in enumerate(names):
    try:
      source.example(i, None)
    except BrokenClip as error:
      broken[name] = error.reason
  assert sorted(broken) == ["cut", "missing", "text", "zero"]
  assert broken["zero"] == "the file is empty"


def test_fingerprint(tmp_path):
  """Equal where the content is; another spec, caption, file or pair shows."""
  for folder in "one", "two":
    (tmp_path / folder).mkdir()
    _video(tmp_path / folder)
  records = [{"video": "a.mp4", "caption": "x"}]
  base = _source(tmp_path / "one", records).fingerprint()
  assert base == _source(tmp_path / "two", records).fingerprint()
  others = {
    _source(tmp_path / "one", records, _replace(frames=8)).fingerprint(),
    _source(tmp_path / "one", records, tracks="none").fingerprint(),
    _source(tmp_path / "one", records * 2).fingerprint(),
    _source(tmp_path / "one", [{"video": "a.mp4"}]).fingerprint(),
  }
  write_sidecars(*sidecar_paths(tmp_path / "one" / "a.mp4"), _film()[1])
  others.add(_source(tmp_path / "one", records).fingerprint())
  (tmp_path / "two" / "a.mp4").write_bytes(b"other")
  others.add(_source(tmp_path / "two", records).fingerprint())
  assert len(others | {base}) == 7


def test_repr_is_stable(tmp_path):
  _video(tmp_path)
  one, two = (_source(tmp_path, [{"video": "a.mp4"}]) for _ in "ab")
  assert repr(one) == repr(two) and "clips.json" in repr(one)


@pytest.mark.parametrize(
  ("spec", "options", "message"),
  [
    ({}, {"tracks": "always"}, "none, sidecar, extract, auto, got 'always'"),
    ({"sampler": "dense"}, {}, "unknown sampler 'dense'"),
    ({"augment": "mixup"}, {}, "unknown augmentation 'mixup'"),
  ],
)
def test_wrong_options(tmp_path, spec, options, message):
  with pytest.raises(ValueError, match=message):
    _source(tmp_path, [{"video": "a.mp4"}], _replace(**spec), **options)


def test_a_loader_shows_every_view_of_a_clip(tmp_path):
  for name in "abc":
    _video(tmp_path, f"{name}.mp4")
  (tmp_path / "b.mp4").write_bytes(b"")
  records = [{"video": f"{name}.mp4"} for name in "abc"]
  source = _source(tmp_path, records, tracks="none")
  loader = Loader(source, clip=SPEC, batch_size=4, views=(2, 3), num_threads=0)
  assert (loader.views, loader.num_clips, loader.num_eval_batches) == (6, 3, 5)
  rows = [
    (valid, clip_id, frames)
    for batch, _ in loader.evaluate()
    for valid, clip_id, frames in zip(
      batch.valid, batch.clip_id, batch.clip.frames, strict=True
    )
  ]
  assert [bool(valid) for valid, *_ in rows] == [
    *[True] * 6,
    *[False] * 6,
    *[True] * 6,
    *[False] * 2,
  ]
  shown = {frames.tobytes() for _, clip_id, frames in rows if clip_id == 0}
  assert len(shown) == 6
  with pytest.raises(ValueError, match="has one view, got views"):
    Loader(FakeSource(), clip=SPEC, batch_size=4, views=(1, 3))
