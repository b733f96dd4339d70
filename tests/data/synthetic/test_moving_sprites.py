"""The source as a whole: examples, track kinds, fingerprints, the cache."""

import dataclasses
import pickle
import sys
import types

import numpy as np
import pytest

from trajvit.data.example import ClipSpec, Example
from trajvit.data.synthetic import MovingSprites, cache, sprites
from trajvit.data.synthetic.caption import caption, named_sprites
from trajvit.data.synthetic.classes import CLASSES
from trajvit.data.synthetic.render import render
from trajvit.data.synthetic.vocabulary import MOTIONS

SMALL = ClipSpec(frames=4, size=32, track_grid=8, max_tracks=10)


def source(split="static", count=6, clip=SMALL, **kwargs):
  return MovingSprites(clip=clip, split=split, count=count, **kwargs)


def assert_equal(a: Example, b: Example):
  for field in dataclasses.fields(Example):
    x, y = getattr(a, field.name), getattr(b, field.name)
    np.testing.assert_array_equal(x, y, err_msg=field.name)
    assert type(x) is type(y)
    if isinstance(x, np.ndarray):
      assert x.dtype == y.dtype


@pytest.fixture
def extractor(monkeypatch):
  """Stands in for `data.extract`: a track is where red is above a level."""

  def extract_tracks(frames, max_tracks):
    assert frames.dtype == np.uint8 and frames.ndim == 4
    labels = np.minimum(frames[..., 0] // 50, max_tracks - 1).astype(np.int32)
    return np.where(frames[..., 1] > 200, -1, labels)

  module = types.SimpleNamespace(extract_tracks=extract_tracks)
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", module)
  return extract_tracks


class TestExample:
  @pytest.mark.parametrize("split", ["train", "moving", "hard"])
  def test_contract(self, split):
    clips = source(split)
    for index in range(len(clips)):
      example = clips.example(index, None)
      assert example.frames.shape == (4, 32, 32, 3)
      assert example.frames.dtype == np.uint8
      assert example.times.dtype == np.float32
      np.testing.assert_array_equal(example.times, [0, 0.125, 0.25, 0.375])
      assert example.tracks.shape == (4, 8, 8)
      assert example.tracks.dtype == np.int32
      found = np.unique(example.tracks)
      np.testing.assert_array_equal(found, np.arange(len(found)))
      assert example.dropped_tracks == 0
      assert example.captions == (caption(clips.scenes[index]),)
      assert 0 <= example.clip_id < 2**31
      assert example.name == f"moving_sprites/{split}/{index}"
      first = named_sprites(clips.scenes[index])[0]
      assert MOTIONS[example.label] == first.motion.name

  @pytest.mark.parametrize("asked", list(CLASSES))
  def test_the_caption_says_the_class(self, asked):
    base, clips = source("moving"), source("moving", label=asked)
    assert "label" not in repr(base)
    assert (repr(base) == repr(clips)) == (asked == "motion")
    for index in range(len(clips)):
      example = clips.example(index, None)
      answer = CLASSES[asked][example.label]
      first, _, rest = example.captions[0].partition(" while ")
      said = {"colors": first + rest, "camera": rest}.get(asked, first)
      assert all(part in said for part in answer.split(" and "))
      other = base.example(index, None)
      assert_equal(dataclasses.replace(example, label=other.label), other)

  def test_is_a_pure_function_of_the_index(self):
    forward = [source().example(i, None) for i in range(6)]
    clips = source()
    for i in reversed(range(6)):
      assert_equal(clips.example(i, None), forward[i])
    assert_equal(clips.example(np.int64(2), None), forward[2])

  def test_rng_changes_the_caption_only(self):
    clips = source()
    plain = clips.example(0, None)
    rng = np.random.default_rng(0)
    drawn = [clips.example(0, rng) for _ in range(20)]
    assert len({example.captions for example in drawn}) > 3
    for example in drawn:
      assert len(example.captions) == 1
      assert_equal(dataclasses.replace(example, captions=plain.captions), plain)

  def test_equal_contents_have_equal_clip_ids(self):
    train = source("train", 50)
    ids = [train.example(i, None).clip_id for i in range(50)]
    captions = [train.example(i, None).captions for i in range(50)]
    assert len(set(ids)) == len(set(captions))
    # A known value: the hash must not depend on the process.
    assert ids[0] == 1124239637

  def test_what_version_1_shows(self):
    # Another picture here means other clips: raise GENERATOR_VERSION. The
    # rounding of a processor may move single pixels, but not the mean.
    frames = source("train").example(0, None).frames
    np.testing.assert_allclose(
      frames.mean((0, 1, 2)), [121.18, 125.97, 100.21], atol=0.1
    )

  def test_tracks_follow_their_region(self):
    clips = source("moving")
    for index in range(len(clips)):
      tracks = clips.example(index, None).tracks
      _, owners = render(clips.scenes[index], 4, 32)
      owners = owners[:, ::4, ::4]
      pairs = np.unique(np.stack([tracks, owners], -1).reshape(-1, 2), axis=0)
      # One to one, over all frames.
      assert len(pairs) == len(np.unique(tracks)) == len(np.unique(owners))

  def test_what_does_not_fit_is_counted(self):
    few = source(clip=dataclasses.replace(SMALL, max_tracks=3))
    for index in range(len(few)):
      every = source().example(index, None).tracks
      example = few.example(index, None)
      assert example.tracks.max() == 2
      assert example.dropped_tracks == every.max() + 1 - 3
      areas = np.sort(np.bincount(every.ravel()))[::-1]
      assert (example.tracks >= 0).sum() == areas[:3].sum()

  def test_vocabulary_covers_the_captions(self):
    clips = source("train", 40)
    words = set(clips.vocabulary())
    for index in range(40):
      for said in clips.example(index, np.random.default_rng(index)).captions:
        assert set(said.replace(",", " ,").split()) <= words

  def test_index_outside(self):
    with pytest.raises(IndexError):
      source().example(6, None)


class TestTracks:
  def test_none(self):
    clips = source(tracks="none")
    example = clips.example(0, None)
    assert example.tracks is None
    assert not clips.tracks_are_ground_truth
    np.testing.assert_array_equal(
      example.frames, source().example(0, None).frames
    )

  def test_extracted_tracks_come_from_the_pixels(self, extractor):
    clips = source(tracks="extracted")
    exact = source()
    assert exact.tracks_are_ground_truth
    assert not clips.tracks_are_ground_truth
    example = clips.example(0, None)
    labels = extractor(example.frames, 10)[:, ::4, ::4]
    np.testing.assert_array_equal(example.tracks < 0, labels < 0)
    for number in range(example.tracks.max() + 1):
      assert len(np.unique(labels[example.tracks == number])) == 1
    assert "extracted" in repr(clips) and "exact" in repr(exact)
    assert clips.fingerprint() != exact.fingerprint()

  def test_missing_dependencies_name_the_extra(self, monkeypatch):
    monkeypatch.setitem(sys.modules, "trajvit.data.extract", None)
    with pytest.raises(ValueError, match=r"trajvit\[tracks\]"):
      source(tracks="extracted")


class TestFingerprint:
  def test_depends_on_all_that_changes_content(self, monkeypatch):
    base = source().fingerprint()
    changed = [
      source("moving"),
      source(count=7),
      source(seed=1),
      source(tracks="none"),
      source(camera="still"),
      source(camera="shake"),
      *(
        source(clip=dataclasses.replace(SMALL, **{name: value}))
        for name, value in (
          ("frames", 5),
          ("size", 64),
          ("track_grid", 4),
          ("max_tracks", 9),
        )
      ),
    ]
    prints = {clips.fingerprint() for clips in changed}
    assert len(prints | {base}) == len(changed) + 1
    monkeypatch.setattr(sprites, "GENERATOR_VERSION", 999)
    assert source().fingerprint() != base

  def test_depends_on_nothing_else(self, tmp_path):
    base = source()
    assert source().fingerprint() == base.fingerprint()
    cached = source(cache_dir=tmp_path, processes=1)
    assert cached.fingerprint() == base.fingerprint()
    assert repr(cached) == repr(base)
    other = source(clip=dataclasses.replace(SMALL, sampler="uniform"))
    assert other.fingerprint() == base.fingerprint()


class TestCamera:
  @pytest.mark.parametrize(
    ("camera", "words"), [("still", "is still"), ("shake", "shakes")]
  )
  def test_all_cameras_do_the_same(self, camera, words):
    base, clips = source("moving"), source("moving", camera=camera)
    assert "camera" not in repr(base) and repr(camera) in repr(clips)
    for index, scene in enumerate(clips.scenes):
      assert clips.example(index, None).captions[0].endswith(f"camera {words}")
      other = base.scenes[index]
      assert scene == dataclasses.replace(other, camera=scene.camera)

  def test_a_still_camera_is_that_of_the_static_split(self):
    static, clips = source("static"), source("moving", camera="still")
    for index in range(len(clips)):
      a, b = (s.example(index, None) for s in (static, clips))
      assert_equal(a, dataclasses.replace(b, name=a.name))

  def test_a_camera_must_be_known(self):
    with pytest.raises(ValueError, match="still, shake, or None; got 'pan'"):
      source(camera="pan")


class TestAugmentation:
  STEPS = (dict(name="tube_mask", share=0.3), dict(name="frame_drop", p=0.5))

  def test_captions_and_evaluation_stay(self):
    """Tracks that are hidden altogether leave no gaps in the labels."""
    plain = source()
    augmented = source(clip=dataclasses.replace(SMALL, augment=self.STEPS))
    assert_equal(plain.example(0, None), augmented.example(0, None))
    stalled = set()
    for seed in range(10):
      one, two = (
        s.example(1, np.random.default_rng(seed)) for s in (plain, augmented)
      )
      assert one.captions == two.captions
      assert (one.frames != two.frames).any()
      present = np.unique(two.tracks)
      assert present.tolist() == list(range(-1, len(present) - 1))
      stalled.add(tuple(two.times))
    assert len(stalled) > 3


class TestErrors:
  @pytest.mark.parametrize(
    "clip, message",
    [
      (dict(frames=1), "2 frames or more, got 1"),
      (dict(size=24), "32 pixels or more, got 24"),
      (dict(max_tracks=0), "max_tracks must be at least 1, got 0"),
      (dict(augment="crop"), "augment must be 'none'.*got 'crop'"),
    ],
  )
  def test_clip(self, clip, message):
    with pytest.raises(ValueError, match=message):
      source(clip=dataclasses.replace(SMALL, **clip))

  def test_augmentations_that_belie_the_caption(self):
    for steps in [dict(name="crop_flip")], [dict(name="blur"), dict(name="no")]:
      with pytest.raises(
        ValueError, match="blur, frame_drop, tube_mask, since"
      ):
        source(clip=dataclasses.replace(SMALL, augment=steps))

  def test_arguments(self):
    with pytest.raises(ValueError, match="known: train, validation"):
      source("test")
    with pytest.raises(ValueError, match="'exact', 'extracted', 'none'"):
      source(tracks="guessed")
    with pytest.raises(ValueError, match="label must be one of motion.*'mood'"):
      source(label="mood")
    with pytest.raises(ValueError, match="processes must be at least 1"):
      source(processes=0)


class TestCache:
  @pytest.mark.parametrize("tracks", ["exact", "extracted", "none"])
  def test_equals_rendering_on_the_fly(self, tracks, tmp_path, extractor):
    clip = dataclasses.replace(SMALL, max_tracks=4)  # some are dropped
    fresh = source("moving", clip=clip, tracks=tracks)
    cached = source(
      "moving", clip=clip, tracks=tracks, cache_dir=tmp_path, processes=1
    )
    for index in range(len(fresh)):
      for seed in (None, 3):
        a, b = (
          clips.example(index, seed and np.random.default_rng(seed))
          for clips in (fresh, cached)
        )
        assert_equal(a, b)
        assert b.frames.flags.writeable and type(b.frames) is np.ndarray
    assert [p.name for p in tmp_path.iterdir()] == [fresh.fingerprint()]

  def test_several_processes(self, tmp_path):
    clip = dataclasses.replace(SMALL, frames=2)
    count = cache.CHUNK + 3
    fresh = source("train", count, clip=clip)
    cached = source("train", count, clip=clip, cache_dir=tmp_path, processes=2)
    for index in (0, 1, cache.CHUNK - 1, cache.CHUNK, count - 1):
      assert_equal(fresh.example(index, None), cached.example(index, None))

  def test_is_made_once(self, tmp_path, monkeypatch):
    first = source(cache_dir=tmp_path, processes=1).example(3, None)

    def fail(self, index):
      raise AssertionError("rendered again")

    monkeypatch.setattr(MovingSprites, "render", fail)
    again = source(cache_dir=str(tmp_path), processes=1)
    assert_equal(again.example(3, None), first)

  def test_index_outside(self, tmp_path):
    with pytest.raises(IndexError):
      source(cache_dir=tmp_path, processes=1).example(-1, None)

  def test_source_pickles_without_its_clips(self, tmp_path):
    cached = source(count=50, cache_dir=tmp_path, processes=1)
    data = pickle.dumps(cached)
    assert len(data) < 4000
    assert_equal(pickle.loads(data).example(49, None), cached.example(49, None))

  def test_a_failure_leaves_nothing_behind(self, tmp_path):
    clips = source()

    def failing(index):
      if index == 4:
        raise RuntimeError("power cut")
      return clips.render(index)

    with pytest.raises(RuntimeError, match="power cut"):
      cache.build_cache(tmp_path / "clips", 6, failing, 1)
    assert list(tmp_path.iterdir()) == []

  def test_second_of_two_builders_takes_the_first_ones_work(self, tmp_path):
    clips, folder = source(), tmp_path / "clips"

    def overtaken(index):
      cache.build_cache(folder, 6, clips.render, 1)
      return clips.render(0)  # what must not be found in the end

    cache.build_cache(folder, 6, overtaken, 1)
    assert list(tmp_path.iterdir()) == [folder]
    found = cache.ClipCache(folder)[5].frames
    np.testing.assert_array_equal(found, clips.render(5).frames)

  def test_a_full_disk_is_noticed_first(self, tmp_path, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="6 clips need .* 0.00 GB free"):
      cache.build_cache(tmp_path / "clips", 6, source().render, 1)
    assert list(tmp_path.iterdir()) == []
