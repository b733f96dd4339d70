"""The one entry: plain names as ever, lists of steps, and what all keep."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.augment import AUGMENTATIONS, Augment, Footage
from trajvit.data.example import ClipSpec
from trajvit.data.transforms import VIEWS, apply_view

CLIP = ClipSpec(frames=4, size=32, track_grid=16, max_tracks=8)
EVERYTHING = [
  dict(name="crop_flip", scale=[0.5, 1.0]),
  dict(name="color", p=1.0),
  dict(name="blur", p=1.0),
  dict(name="rand_augment", n=3),
  dict(name="tube_mask"),
  dict(name="frame_drop", p=0.5),
]


def make_footage(rng, height=40, width=48, **values):
  frames = rng.integers(0, 256, (4, height, width, 3), dtype=np.uint8)
  tracks = rng.integers(-1, 5, (4, height // 8, width // 8))
  return Footage(
    frames=frames,
    times=np.arange(4, dtype=np.float32),
    tracks=tracks.repeat(4, 1).repeat(4, 2).astype(np.int32),
    **values,
  )


def build(augment):
  return Augment(dataclasses.replace(CLIP, augment=augment))


def assert_same(one, two):
  for field in "frames", "times", "tracks":
    np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
  assert one.captions == two.captions


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_name_is_its_view(rng, name):
  """Nothing but the view is drawn, so that the caption's draw comes next."""
  footage = make_footage(rng)
  for seed in range(5):
    one, two = (np.random.default_rng(seed) for _ in range(2))
    got = build(name)(footage, one)
    view = VIEWS[name](40, 48, two)
    frames, tracks = apply_view(
      view, footage.frames, footage.tracks, size=32, track_grid=16
    )
    assert_same(got, dataclasses.replace(footage, frames=frames, tracks=tracks))
    assert one.random() == two.random()
  assert_same(
    build([dict(name=name)])(footage, None), build(name)(footage, None)
  )
  assert build(name).view_name == name


def test_steps_are_done_in_order(rng):
  footage = make_footage(rng)
  one, two = (np.random.default_rng(5) for _ in range(2))
  got = build(EVERYTHING)(footage, one)
  footage = build(EVERYTHING[:1])(footage, two)
  for step in EVERYTHING[1:]:
    spec = dataclasses.replace(CLIP, augment=[step])
    footage = AUGMENTATIONS.build(step, clip=spec)(footage, two)
  assert_same(got, footage)
  assert one.random() == two.random()


def test_an_evaluation_draws_nothing(rng):
  footage = make_footage(rng, captions=("a dog on the left",))
  for view in "none", "center_crop", "crop_flip":
    augment = build([dict(name=view), *EVERYTHING[1:]])
    assert_same(augment(footage, None), build(view)(footage, None))
  assert_same(
    build(EVERYTHING[1:])(footage, None), build("none")(footage, None)
  )
  assert build(EVERYTHING[1:]).view_name == "none"


def test_equal_generators_give_equal_clips(rng):
  footage = make_footage(rng)
  kept = footage.frames.copy(), footage.tracks.copy(), footage.times.copy()
  augment, clips = build(EVERYTHING), set()
  for seed in range(8):
    one, two = (augment(footage, np.random.default_rng(seed)) for _ in "ab")
    assert_same(one, two)
    clips.add(one.frames.tobytes())
  assert len(clips) == 8
  for before, after in zip(
    kept, (footage.frames, footage.tracks, footage.times), strict=True
  ):
    np.testing.assert_array_equal(before, after)


def test_tracks_are_found_in_what_the_view_shows(rng):
  """And then hidden with the rest, as those of a file would be."""
  footage = dataclasses.replace(make_footage(rng), tracks=None)
  seen = []

  def find_tracks(frames):
    seen.append(frames)
    return np.zeros((4, 16, 16), np.int32)

  steps = [dict(name="crop_flip"), dict(name="tube_mask", share=0.3)]
  got = build(steps)(footage, np.random.default_rng(3), find_tracks)
  view = build("crop_flip")(footage, np.random.default_rng(3))
  np.testing.assert_array_equal(seen[0], view.frames)
  assert 0.2 < (got.tracks == -1).mean() < 0.4
  assert build(steps)(footage, np.random.default_rng(3)).tracks is None


STEPS = st.one_of(
  st.builds(dict, name=st.just("color"), p=st.just(1.0), hue=st.floats(0, 0.5)),
  st.builds(
    dict, name=st.just("blur"), p=st.just(1.0), kernel=st.sampled_from([1, 5])
  ),
  st.builds(
    dict,
    name=st.just("rand_augment"),
    n=st.integers(1, 4),
    magnitude=st.floats(0, 10),
  ),
  st.builds(
    dict,
    name=st.just("tube_mask"),
    which=st.sampled_from(["rectangle", "patches"]),
    share=st.floats(0, 1),
    patch=st.sampled_from([2, 8, 16]),
    fill=st.sampled_from(["mean", "zero"]),
  ),
  st.builds(dict, name=st.just("frame_drop"), p=st.floats(0, 1)),
)
VIEW = st.builds(
  dict,
  name=st.just("crop_flip"),
  flip=st.sampled_from(["always", "never", "unless_sided", "swap"]),
)


@settings(max_examples=40, deadline=None)
@given(VIEW, st.lists(STEPS, max_size=4), st.integers(0, 2**32 - 1))
def test_any_list_of_steps(view, steps, seed):
  """Shapes and ranges stay, no track is invented, a still clip stays still."""
  rng = np.random.default_rng(seed)
  footage = make_footage(rng)
  footage = dataclasses.replace(
    footage,
    frames=footage.frames[:1].repeat(4, 0),
    tracks=footage.tracks[:1].repeat(4, 0),
  )
  got = build([view, *steps])(footage, rng)
  assert got.frames.shape == (4, 32, 32, 3) and got.frames.dtype == np.uint8
  assert got.tracks.shape == (4, 16, 16) and got.tracks.dtype == np.int32
  assert set(np.unique(got.tracks)) <= set(range(-1, 6))
  assert got.times.dtype == np.float32 and (np.diff(got.times) >= 0).all()
  assert (got.frames == got.frames[0]).all()
  assert (got.tracks == got.tracks[0]).all()


@pytest.mark.parametrize(
  ("augment", "message"),
  [
    ("blurry", "known: blur, center_crop, color, crop_flip, frame_drop, none"),
    ([dict(name="color"), dict(name="crop_flip")], "first, got color, crop_"),
    ([dict(name="none"), dict(name="none")], "one view, which comes first"),
    ([dict(name="crop_flip", zoom=2)], "reads no 'zoom'; it takes flip, ratio"),
    ([dict(name="none", scale=1)], "reads no 'scale'"),
    ([dict(scale=1)], "augmentation needs a name"),
    ([dict(name="crop_flip", scale=0.2)], r"\(least, largest\), got 0.2"),
    ([dict(name="crop_flip", scale=(0.8, 0.2))], r"got \(0.8, 0.2\)"),
    ([dict(name="crop_flip", ratio=(0, 1))], "ratio must be in"),
    ([dict(name="crop_flip", flip="sometimes")], "always, never, unless_sided"),
    (
      [dict(name="color", hue=0.6)],
      r"color.hue must be in \[0, 0.5\], got 0.6",
    ),
    ([dict(name="color", p="often")], "color.p must be in .* got 'often'"),
    ([dict(name="blur", kernel=4)], "odd, got 4"),
    ([dict(name="rand_augment", magnitude=28)], r"\[0, 10\], got 28"),
    ([dict(name="rand_augment", n=2.5)], "n must be a whole number, got 2.5"),
    ([dict(name="tube_mask", patch=16.0)], "patch must be a whole number"),
    ([dict(name="rand_augment", n=0)], r"\[1, 100\], got 0"),
    ([dict(name="tube_mask", which="tubes")], "one of rectangle, patches"),
    ([dict(name="tube_mask", which="patches", patch=3)], "32 pixels .* got 3"),
    ([dict(name="tube_mask", which="patches", patch=1)], "multiple of the 2"),
    ([dict(name="tube_mask", share=1.5)], "tube_mask.share must be in"),
    ([dict(name="frame_drop", p=True)], "frame_drop.p must be in"),
    (["crop_flip"], "a name or a list of dicts with a name"),
    (dict(name="crop_flip"), "a name or a list of dicts with a name"),
    (None, "a name or a list of dicts with a name, got None"),
  ],
)
def test_what_a_config_cannot_say(augment, message):
  with pytest.raises(ValueError, match=message):
    build(augment)


def test_specs_are_plain_hashable_values():
  """Written as JSON, read again, in another order of keys: the same spec."""
  one = dataclasses.replace(CLIP, augment=EVERYTHING)
  values = json.loads(json.dumps(dataclasses.asdict(one)))
  turned = [dict(reversed(spec.items())) for spec in EVERYTHING]
  for two in ClipSpec(**values), dataclasses.replace(CLIP, augment=turned):
    assert one == two and hash(one) == hash(two) and repr(one) == repr(two)
  assert dataclasses.replace(CLIP, augment="none").augment == "none"
  Augment(ClipSpec(**values))


def test_every_augmentation_says_what_it_does():
  assert all(text for _, text in AUGMENTATIONS.describe())
