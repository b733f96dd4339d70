"""Operations on clips: tracks go where their pixels go, clips stay whole."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from trajvit.data.augment import Footage, warp
from trajvit.data.augment.rand_augment import OPERATIONS, RandAugment

GREYS = np.array([10, 70, 190, 250], np.uint8)
MOVING = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def make(rng, frames=2, cells=8, cell=4):
  """Labels in blocks of 2 x 2 cells, and each label painted as a grey."""
  coarse = rng.integers(0, 4, (frames, cells // 2, cells // 2))
  tracks = coarse.repeat(2, 1).repeat(2, 2).astype(np.int32)
  pixels = GREYS[tracks.repeat(cell, 1).repeat(cell, 2)]
  times = np.arange(frames, dtype=np.float32)
  return Footage(pixels[..., None].repeat(3, -1), times, tracks)


def read_back(frames, cell=4):
  """The label painted in each cell, -1 beyond the picture; and where pure."""
  count = frames.shape[1] // cell
  cells = frames[..., 0].reshape(len(frames), count, cell, count, cell)
  low, high = cells.min((2, 4)).astype(int), cells.max((2, 4)).astype(int)
  levels = np.append(GREYS, 128).astype(int)
  nearest = abs(low[..., None] - levels).argmin(-1)
  pure = (high - low <= 4) & (abs(low - levels[nearest]) <= 4)
  return np.where(nearest == 4, -1, nearest), pure


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("name", sorted(MOVING))
def test_tracks_follow_the_pixels(rng, name, strength, sign):
  seen = beyond = 0
  for _ in range(5):
    footage = make(rng)
    got = OPERATIONS[name](footage, strength, sign)
    labels, pure = read_back(got.frames)
    assert (got.tracks == labels)[pure].all()
    seen += pure.sum()
    beyond += (got.tracks == -1).sum()
  assert seen > 5 * 2 * 64 * 0.25
  assert beyond or strength < 1
  if strength == 0:
    np.testing.assert_array_equal(got.tracks, footage.tracks)
    np.testing.assert_array_equal(got.frames, footage.frames)


def test_directions_and_distances():
  frames = np.zeros((1, 32, 32, 3), np.uint8)
  frames[:, 8:12, 20:24] = 200
  footage = Footage(frames, np.zeros(1, np.float32))

  def spot(source):
    bright = np.argwhere(warp.warp(footage, source).frames[0, ..., 0] > 150)
    return bright.mean(0).round().astype(int).tolist()

  assert spot(warp.translation(x=0.25)) == [10, 14]  # 21.5 - 8, to the left
  assert spot(warp.translation(y=-0.25)) == [18, 22]
  assert spot(warp.rotation(90)) == [10, 10]  # top right to top left
  assert spot(warp.shear(x=0.5)) == [10, 24]  # 6 rows above the middle


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - MOVING))
def test_others_leave_tracks_and_still_clips_alone(rng, name):
  frame = rng.integers(20, 200, (1, 12, 12, 3), dtype=np.uint8)
  tracks = np.zeros((3, 4, 4), np.int32)
  still = Footage(frame.repeat(3, 0), np.zeros(3, np.float32), tracks)
  for sign in 1, -1:
    got = OPERATIONS[name](still, 0.9, sign)
    assert got.tracks is still.tracks
    assert got.frames.dtype == np.uint8
    assert (got.frames == got.frames[0]).all()
    assert (got.frames != still.frames).any() == (name != "identity")


@pytest.mark.parametrize("most", [0, 1, 30, 150])
def test_operations_of_levels_equal_those_of_pillow(rng, most):
  """On the clip as one tall picture: dim, flat and of unlike channels."""
  frames = rng.integers(40, 41 + most, (2, 24, 24, 3), dtype=np.uint8)
  frames[..., 1] //= 2
  frames[:, :5] = 200
  footage = Footage(frames, np.zeros(2, np.float32))
  tall = Image.fromarray(frames.reshape(48, 24, 3))
  for name, expected in {
    "auto_contrast": ImageOps.autocontrast(tall),
    "equalize": ImageOps.equalize(tall),
    "posterize": ImageOps.posterize(tall, 6),
    "solarize": ImageOps.solarize(tall, 128),
  }.items():
    got = OPERATIONS[name](footage, 0.5, 1).frames
    np.testing.assert_array_equal(got.reshape(48, 24, 3), np.asarray(expected))
  flat = Footage(frames[:, :3], footage.times)
  for name in "auto_contrast", "equalize":
    got = OPERATIONS[name](flat, 1.0, 1).frames
    np.testing.assert_array_equal(got, flat.frames)


def test_magnitude_zero_is_nearly_nothing(rng):
  """But for the operations that have no strength."""
  footage = make(rng)
  for name in set(OPERATIONS) - {"auto_contrast", "equalize"}:
    got = OPERATIONS[name](footage, 0.0, -1)
    np.testing.assert_array_equal(got.frames, footage.frames)


def test_all_operations_are_drawn(rng, monkeypatch):
  drawn = []
  for name in OPERATIONS:

    def note(footage, strength, sign, name=name):
      drawn.append((name, strength, int(sign)))
      return footage

    monkeypatch.setitem(OPERATIONS, name, note)
  for seed in range(100):
    RandAugment(n=3, magnitude=4)(make(rng), np.random.default_rng(seed))
  assert len(drawn) == 300
  assert {name for name, _, _ in drawn} == set(OPERATIONS)
  assert {strength for _, strength, _ in drawn} == {0.4}
  assert 110 < sum(sign == 1 for _, _, sign in drawn) < 190
