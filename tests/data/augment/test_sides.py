"""Captions that a mirror would belie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajvit.data.augment import Augment, Footage
from trajvit.data.augment.sides import is_sided, swap_sides
from trajvit.data.example import ClipSpec

SWAPPED = [
  ("a dog runs to the left", "a dog runs to the right"),
  ("Right, then LEFT.", "Left, then RIGHT."),
  ("her left-hand side, leftmost", "her right-hand side, rightmost"),
  ("moving rightwards", "moving leftwards"),
  ("it turns clockwise", "it turns counterclockwise"),
  ("it turns Counter-clockwise", "it turns Clockwise"),
  ("anticlockwise and anti-clockwise", "clockwise and clockwise"),
  ("left_to_right", "right_to_left"),
]
NEITHER = ["a bright light", "she eats leftovers", "copyright", "a cleft", ""]
WORDS = ["left", "Right", "a", "LEFT", "leftward", "dog", "clockwise", ","]


@pytest.mark.parametrize(("caption", "mirrored"), SWAPPED)
def test_sided_words_are_found_and_exchanged(caption, mirrored):
  assert is_sided(caption)
  assert swap_sides(caption) == mirrored


@pytest.mark.parametrize("caption", NEITHER)
def test_other_words_are_left_alone(caption):
  assert not is_sided(caption)
  assert swap_sides(caption) == caption


@given(st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_a_mirror_twice_is_none(caption):
  assert swap_sides(swap_sides(caption)) == caption
  assert is_sided(caption) == (swap_sides(caption) != caption)


def _mirrored(flip, captions):
  """Which of 40 clips are mirrored, and their captions."""
  clip = ClipSpec(
    frames=1,
    size=8,
    track_grid=4,
    max_tracks=2,
    augment=[
      dict(name="crop_flip", flip=flip, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    ],
  )
  frames = np.zeros((1, 8, 8, 3), np.uint8)
  frames[:, :, :4] = 200
  tracks = np.repeat(np.int32([[[0, 0, 1, 1]]]), 4, 1)
  footage = Footage(frames, np.zeros(1, np.float32), tracks, captions)
  augment, seen = Augment(clip), []
  for seed in range(40):
    got = augment(footage, np.random.default_rng(seed))
    mirrored = bool(got.frames[0, 0, -1, 0])
    assert mirrored == (got.tracks[0, 0, -1] == 0)
    seen.append((mirrored, got.captions))
  return [m for m, _ in seen], [c for _, c in seen]


def test_who_is_mirrored():
  plain, sided = ("a dog", "a cat"), ("a dog", "a cat on the left")
  drawn, _ = _mirrored("always", sided)
  assert 10 < sum(drawn) < 30
  for flip, captions, expected in (
    ("always", plain, drawn),
    ("never", plain, [False] * 40),
    ("never", sided, [False] * 40),
    ("unless_sided", plain, drawn),
    ("unless_sided", (), drawn),
    ("unless_sided", sided, [False] * 40),
    ("swap", plain, drawn),
    ("swap", sided, drawn),
  ):
    got, said = _mirrored(flip, captions)
    assert got == expected
    if flip == "swap" and captions is sided:
      right = ("a dog", "a cat on the right")
      assert said == [right if m else sided for m in drawn]
    else:
      assert said == [captions] * 40
