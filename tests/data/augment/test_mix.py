"""Mixed clips: what is whose, by construction and by counting pixels."""

import dataclasses

import numpy as np
import pytest

from trajvit.data.augment.mix import (
  Mixing,
  blended,
  draw_box,
  mix_examples,
  pasted,
)
from trajvit.data.example import Example

FRAMES, SIZE, GRID, TRACKS = 3, 16, 8, 6


def make_example(i, tracked=True):
  """A clip of one grey, 40 * i + 10 * t, whose tracks fill columns."""
  frames = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
  frames += (40 * i + 10 * np.arange(FRAMES, dtype=np.uint8))[
    :, None, None, None
  ]
  tracks = np.full((FRAMES, GRID, GRID), -1, np.int32)
  tracks[..., 2:5], tracks[..., 5:] = 0, 1
  return Example(
    frames=frames,
    times=np.arange(FRAMES, dtype=np.float32),
    tracks=tracks if tracked else None,
    captions=(),
    clip_id=i,
    label=i,
    name=f"clip {i}",
  )


def mix(count, mixing, seed=0, start=0, **options):
  examples = [make_example(i, **options) for i in range(count)]
  return examples, *mix_examples(
    examples,
    range(start, start + count),
    seed=seed,
    mixing=mixing,
    max_tracks=TRACKS,
  )


def test_both_of_a_pair_know_the_other(rng):
  examples, mixed, shares = mix(6, Mixing())
  assert shares.label.tolist() == [1, 0, 3, 2, 5, 4]
  assert shares.label.dtype == np.int32 and shares.share.dtype == np.float32
  assert (shares.share[::2] == shares.share[1::2]).all()
  assert ((shares.share >= 0) & (shares.share <= 1)).all()
  for one, two in zip(examples, mixed, strict=True):
    assert (one.label, one.name, one.clip_id) == (
      *(two.label, two.name, two.clip_id),
    )
    np.testing.assert_array_equal(one.times, two.times)
    assert two.frames.dtype == np.uint8 and two.tracks.dtype == np.int32


@pytest.mark.parametrize("tracked", [True, False])
def test_cutmix_area_is_the_other_share(tracked):
  """Counted in pixels, exactly, the same in every frame."""
  seen = set()
  for seed in range(20):
    mixing = Mixing(mixup=0, cutmix=1.0)
    examples, mixed, shares = mix(4, mixing, seed, tracked=tracked)
    for i, example in enumerate(mixed):
      other = examples[i ^ 1]
      foreign = (example.frames == other.frames).all(-1)  # [T, H, W]
      assert (foreign == foreign[0]).all()
      assert ((example.frames == examples[i].frames).all(-1) ^ foreign).all()
      assert foreign[0].mean() == 1 - shares.share[i]
      seen.add(float(shares.share[i]))
  assert len(seen) > 10


def test_tracks_come_along_with_the_pixels():
  one, two = make_example(1), make_example(2)
  example = pasted(one, two, (2, 1, 6, 6), GRID, TRACKS)
  expected = one.tracks[0].copy()
  expected[2:6, 1:6] = [-1, 2, 2, 2, 3]
  for t in range(FRAMES):
    np.testing.assert_array_equal(example.tracks[t], expected)
  assert example.dropped_tracks == 0
  assert (example.frames[:, 4:12, 2:12] == two.frames[:, 4:12, 2:12]).all()


def test_of_too_many_tracks_the_largest_stay():
  one, two = make_example(1), make_example(2)
  one = dataclasses.replace(one, dropped_tracks=2)
  two = dataclasses.replace(two, dropped_tracks=7)
  example = pasted(one, two, (2, 1, 6, 6), GRID, 3)
  assert example.dropped_tracks == 2 + 1
  assert example.tracks.max() == 2
  assert (example.tracks[:, 2:6, 5] == -1).all()  # the smallest of four


def test_an_empty_box_changes_nothing():
  one, two = make_example(1), make_example(2)
  example = pasted(one, two, (3, 3, 3, 3), GRID, TRACKS)
  np.testing.assert_array_equal(example.frames, one.frames)
  np.testing.assert_array_equal(example.tracks, one.tracks)
  whole = pasted(one, two, (0, 0, GRID, GRID), GRID, TRACKS)
  np.testing.assert_array_equal(whole.frames, two.frames)
  np.testing.assert_array_equal(whole.tracks, two.tracks)


def test_boxes_are_of_the_size_asked_unless_cut(rng):
  inside = 0
  for _ in range(300):
    area = rng.random()
    top, left, bottom, right = draw_box(GRID, area, rng)
    assert 0 <= top <= bottom <= GRID and 0 <= left <= right <= GRID
    side = round(GRID * np.sqrt(area))
    assert bottom - top <= side and right - left <= side
    if top > 0 and bottom < GRID and left > 0 and right < GRID:
      assert (bottom - top, right - left) == (side, side)
      inside += 1
  assert inside > 20
  box = draw_box(GRID, 0.0, rng)
  assert box[:2] == box[2:]


@pytest.mark.parametrize("parts", [0, 1, 77, 128, 255, 256])
def test_blending_equals_rounded_arithmetic(rng, parts):
  one, two = (
    dataclasses.replace(
      make_example(i),
      frames=rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8),
    )
    for i in range(2)
  )
  one.frames[0, 0], two.frames[0, 0] = 255, 255
  share = parts / 256
  expected = share * one.frames + (1 - share) * two.frames
  example = blended(one, two, parts)
  assert example.frames.dtype == np.uint8
  np.testing.assert_array_equal(example.frames, np.floor(expected + 0.5))
  if parts == 256:
    np.testing.assert_array_equal(example.frames, one.frames)


def test_mixup_keeps_the_tracks_of_the_larger_share():
  one, two = make_example(0), make_example(1)
  two = dataclasses.replace(two, tracks=two.tracks[..., ::-1], dropped_tracks=1)
  for parts, kept in (128, one), (200, one), (127, two):
    example = blended(one, two, parts)
    assert (example.tracks == kept.tracks).all()
    assert example.dropped_tracks == kept.dropped_tracks


def test_mixup_share_is_that_of_the_pixels():
  for seed in range(10):
    examples, mixed, shares = mix(2, Mixing(cutmix=0), seed)
    exact = shares.share[0] * examples[0].frames[0, 0, 0, 0].astype(float)
    exact += (1 - shares.share[0]) * examples[1].frames[0, 0, 0, 0]
    assert (abs(mixed[0].frames[0].astype(float) - exact) <= 0.5).all()


def test_what_is_drawn_depends_on_seed_and_position_alone():
  """So one process with all rows mixes as two processes with half of them."""
  _, whole, shares = mix(4, Mixing())
  examples = [make_example(i) for i in range(4)]
  for start in 0, 2:
    part, mixed = mix_examples(
      examples[start : start + 2],
      [start, start + 1],
      seed=0,
      mixing=Mixing(),
      max_tracks=TRACKS,
    )
    for one, two in zip(part, whole[start:], strict=False):
      np.testing.assert_array_equal(one.frames, two.frames)
      np.testing.assert_array_equal(one.tracks, two.tracks)
    assert (mixed.share == shares.share[start : start + 2]).all()
  for other in dict(seed=1), dict(start=2):
    assert (mix(4, Mixing(), **other)[2].share != shares.share).any()


def test_draws_are_not_those_of_the_examples():
  """`data.order` makes a generator of the same two numbers."""
  equal = 0
  for seed in range(20):
    _, _, shares = mix(2, Mixing(cutmix=0), seed)
    rng = np.random.default_rng((seed, 0))
    rng.random()
    equal += shares.share[0] == round(256 * rng.beta(0.8, 0.8)) / 256
  assert equal < 3


def test_some_pairs_are_left_whole():
  examples, mixed, shares = mix(6, Mixing(p=0.0))
  assert mixed == examples and (shares.share == 1).all()
  whole, cut = 0, 0
  for seed in range(60):
    examples, mixed, shares = mix(2, Mixing(p=0.5, switch=0.25), seed)
    whole += mixed[0] is examples[0]
    values = np.unique(mixed[0].frames[0])
    cut += set(values) == {0, 40}
  assert 15 < whole < 45 and 2 < cut < 20


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (dict(mixup=-1.0), r"mixup must be in \[0, 1000\], got -1"),
    (dict(mixup=float("nan")), r"mixup must be in \[0, 1000\], got nan"),
    (dict(mixup=0, cutmix=0), "positive mixup or cutmix"),
    (dict(p=1.5), r"p must be in \[0, 1\], got 1.5"),
    (dict(switch=-0.1), r"switch must be in \[0, 1\], got -0.1"),
  ],
)
def test_arguments_out_of_range(values, message):
  with pytest.raises(ValueError, match=message):
    Mixing(**values)


def test_what_cannot_be_mixed():
  Mixing().check(rows=4, with_text=False)
  with pytest.raises(ValueError, match="no caption: leave out"):
    Mixing().check(rows=4, with_text=True)
  with pytest.raises(ValueError, match="even number of rows .* got 3"):
    Mixing().check(rows=3, with_text=False)
  examples = [make_example(0), make_example(1, tracked=False)]
  options = dict(seed=0, mixing=Mixing(), max_tracks=TRACKS)
  with pytest.raises(ValueError, match="clip 0, clip 1"):
    mix_examples(examples, [0, 1], **options)
  for positions in [1, 2], [0, 2], [0]:
    with pytest.raises(ValueError, match="an even number and the next"):
      mix_examples(examples, positions, **options)
