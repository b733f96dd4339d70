"""Samplers: golden values of TrajViT, and what holds for every one of them."""

import numpy as np
import pytest

from trajvit.data.sampling import (
  SAMPLERS,
  middle,
  random_segment,
  strided,
  uniform,
)


def _golden(text):
  return [int(word) for word in text.split()]


@pytest.mark.parametrize(
  ("frames", "num_frames", "expected"),
  [
    (16, 100, "2 8 14 21 27 33 39 46 52 58 64 71 77 83 89 96"),
    (8, 30, "1 4 8 12 16 19 23 27"),
  ],
)
def test_middle_golden(frames, num_frames, expected):
  assert middle(num_frames, frames).tolist() == _golden(expected)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("random", [False, True])
def test_every_sampler(name, random):
  """T ascending indices of the video; all of it once if it has T frames."""
  for num_frames in range(1, 40):
    for frames in range(1, 20):
      rng = np.random.default_rng(num_frames) if random else None
      indices = SAMPLERS[name](num_frames, frames, rng)
      assert indices.shape == (frames,) and indices.dtype == np.int64
      assert (np.diff(indices) >= (num_frames >= frames)).all()
      assert indices[0] >= 0 and indices[-1] < num_frames
      if num_frames <= frames:
        assert set(indices.tolist()) == set(range(num_frames))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_short_video_repeats_frames_evenly(name):
  indices = SAMPLERS[name](3, 7, np.random.default_rng(0))
  assert indices.tolist() == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_equal_generators_give_equal_frames(name):
  draws = [SAMPLERS[name](97, 8, np.random.default_rng(5)) for _ in range(2)]
  np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize(("num_frames", "frames"), [(0, 4), (4, 0), (-1, 2)])
def test_counts_below_one(name, num_frames, frames):
  with pytest.raises(ValueError, match=f"got {frames} from {num_frames}"):
    SAMPLERS[name](num_frames, frames, None)


def test_random_segment_reaches_every_frame_of_its_interval():
  """Also the last one, which the original leaves out."""
  rng = np.random.default_rng(0)
  draws = np.stack([random_segment(23, 4, rng) for _ in range(400)])
  seen = [sorted(set(column.tolist())) for column in draws.T]
  edges = [0, 5, 11, 17, 23]  # floor(23 / 4 * i)
  assert seen == [
    list(range(a, b)) for a, b in zip(edges[:-1], edges[1:], strict=True)
  ]


def test_random_segment_without_rng_is_middle():
  np.testing.assert_array_equal(random_segment(50, 8), middle(50, 8))


def test_uniform_takes_both_ends():
  assert uniform(10, 4).tolist() == [0, 3, 6, 9]
  assert uniform(100, 1).tolist() == [0]


def test_strided():
  rng = np.random.default_rng(0)
  draws = np.stack([strided(20, 4, rng, stride=3) for _ in range(300)])
  assert (np.diff(draws, axis=1) == 3).all()
  assert set(draws[:, 0].tolist()) == set(range(11))  # 0 + 9 .. 10 + 9
  assert strided(20, 4, stride=3).tolist() == [5, 8, 11, 14]  # centred
  assert strided(20, 4).tolist() == [0, 6, 12, 18]  # the largest that fits
  assert strided(20, 4, stride=50).tolist() == [0, 6, 12, 18]
  assert strided(9, 1).tolist() == [4]
  with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
    strided(20, 4, stride=0)


def test_unknown_sampler_lists_the_known():
  with pytest.raises(ValueError, match="middle, random_segment, strided, unif"):
    SAMPLERS["center"]
