import functools

import jax
import numpy as np
import pytest

from trajvit.ops.change import feature_similarity
from trajvit.ops.segments import (
  equal_segments,
  segments_from_starts,
  similarity_segments,
)


def ids_of(starts):
  """[T] ids from the frames at which segments start."""
  return np.cumsum(starts) - 1


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "jit"])
def test_four_frames_are_cut_where_they_are_least_alike(eager):
  run = functools.partial(
    similarity_segments, threshold=0.9, min_segments=2, max_segments=4
  )
  similarity = np.asarray([-np.inf, 0.95, 0.5, 0.92])
  got = (run if eager else jax.jit(run))(similarity, np.ones(4, bool))
  assert got.ids.tolist() == [0, 0, 1, 1]
  assert got.starts.tolist() == [True, False, True, False]
  assert got.lengths.tolist() == [2, 2, 0, 0] and got.dropped == 0


@pytest.mark.parametrize("least, lengths", [(2, [2, 2, 1]), (4, [1, 1, 2, 1])])
def test_five_frames_are_cut_until_there_are_enough(least, lengths):
  frames = [[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99], [1, 1]]
  real = np.ones((1, 5), bool)
  similarity = jax.jit(feature_similarity)(np.asarray([frames]), real)
  got = similarity_segments(
    similarity, real, threshold=0.9, min_segments=least, max_segments=5
  )
  assert got.lengths[0, : len(lengths)].tolist() == lengths


@pytest.fixture
def case(rng):
  """Similarities with ties: all frames real, padding, holes, one, none."""
  similarity = rng.integers(0, 8, (5, 9)).astype(np.float32) / 8
  mask = np.ones((5, 9), bool)
  mask[1, 6:] = mask[2, [0, 3, 4]] = mask[4] = False
  mask[3] = np.arange(9) == 5
  return np.where(mask, similarity, np.nan), mask


@pytest.mark.parametrize("least, most", [(1, 9), (3, 4), (2, 2)])
def test_equal_a_loop(case, least, most):
  similarity, mask = case
  got = similarity_segments(
    similarity, mask, threshold=0.4, min_segments=least, max_segments=most
  )
  for b in range(5):
    real = np.flatnonzero(mask[b])
    order = sorted(real[1:], key=lambda t: (similarity[b, t], t))
    below = sum(similarity[b, t] < 0.4 for t in real[1:])
    cuts = order[: min(max(below, least - 1), most - 1)]
    starts = np.isin(np.arange(9), [*real[:1], *cuts])
    ids = np.where(mask[b], ids_of(starts), -1)
    np.testing.assert_array_equal(got.ids[b], ids)
    np.testing.assert_array_equal(got.starts[b], starts)
    lengths = [np.sum(ids == s) for s in range(most)]
    assert got.lengths[b].tolist() == lengths
    assert got.dropped[b] == max(below - (most - 1), 0)


def test_equal_lengths_count_real_frames(case):
  _, mask = case
  got = equal_segments(mask, 2)
  assert got.ids[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
  assert got.ids[2].tolist() == [-1, 0, 0, -1, -1, 1, 1, 2, 2]
  assert got.lengths[1].tolist() == [2, 2, 2, 0, 0]
  assert got.lengths[3].tolist() == [1, 0, 0, 0, 0]
  assert not got.dropped.any() and not got.lengths[4].any()


def test_starts_that_do_not_fit_are_dropped_and_counted():
  starts = np.asarray([False, True, False, True, True, False])
  mask = np.asarray([True, True, False, True, True, True])
  got = segments_from_starts(starts, mask, 3)
  assert got.ids.tolist() == [0, 1, -1, 2, 2, 2]
  assert got.starts.tolist() == [True, True, False, True, False, False]
  assert got.lengths.tolist() == [1, 1, 3] and got.dropped == 1


@pytest.mark.parametrize("least, most", [(0, 3), (4, 3), (1, 10)])
def test_numbers_that_cannot_be_are_refused(case, least, most):
  with pytest.raises(ValueError, match=rf"9 frames, got {least} and {most}"):
    similarity_segments(
      *case, threshold=0, min_segments=least, max_segments=most
    )
  with pytest.raises(ValueError, match="at least 1, got 0"):
    equal_segments(case[1], 0)
