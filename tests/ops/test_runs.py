import functools

import jax
import numpy as np
import pytest

from trajvit.ops.change import (
  cosine_difference,
  feature_similarity,
  mean_absolute_difference,
  pixel_change,
  tubelet_ends,
)
from trajvit.ops.runs import (
  drop_least_changed,
  keep_changed,
  keep_dissimilar,
  keep_most_changed,
  keep_since_kept,
  runs,
)

lengths_of = jax.jit(runs)
change_of = jax.jit(pixel_change, static_argnames=("tubelet", "patch"))


@pytest.fixture
def case(rng):
  """Changes with ties in 4 frames of 5 places: whole, with holes, and empty."""
  change = rng.integers(0, 4, (3, 4, 5)).astype(np.float32)
  mask = np.ones((3, 4, 5), bool)
  mask[1] = rng.random((4, 5)) < 0.7
  mask[2] = False
  first = mask & (np.cumsum(mask, axis=1) == 1)
  change[first] = np.inf
  return np.where(mask, change, np.nan), mask, first


def clip_of(values):
  """A clip of one pixel a frame."""
  return np.asarray(values, np.float32).reshape(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
  "values, kept, lengths",
  [
    ([0, 0, 0, 0, 1, 1], [1, 0, 1], [2, 0, 1]),
    (0.03 * np.arange(8), [1, 0, 0, 0], [4, 0, 0, 0]),
  ],
)
def test_run_length_tokens_of_one_patch(values, kept, lengths):
  change = change_of(clip_of(values), tubelet=2, patch=1)
  real = np.ones(change.shape, bool)
  keep = keep_changed(change, real, threshold=0.1)
  assert keep.ravel().tolist() == [bool(k) for k in kept]
  assert lengths_of(keep, real).length.ravel().tolist() == lengths


def test_a_drift_is_seen_against_what_was_kept():
  first, last = tubelet_ends(clip_of(0.03 * np.arange(8)), tubelet=2, patch=1)
  keep = keep_since_kept(
    last,
    first,
    np.ones(first.shape[:-1], bool),
    mean_absolute_difference,
    threshold=0.1,
  )
  assert keep.ravel().tolist() == [True, False, True, False]


def test_lengths_are_in_raster_order():
  # One place keeps its first and last frame, the other its first two.
  keep = np.asarray([[[1, 1], [0, 1], [1, 0]]], bool)
  got = runs(keep, np.ones_like(keep))
  assert got.length[keep].tolist() == [2, 1, 2, 1]
  assert got.head[0].tolist() == [[0, 0], [0, 1], [2, 1]]


@pytest.fixture
def two_places():
  """Three frames: one place turns in the last of them, the other never."""
  e1, e2 = [1.0, 0], [0, 1.0]
  features = np.asarray([[[e1, e1], [e1, e1], [e2, e1]]])
  real = np.ones((1, 3, 2), bool)
  return jax.jit(feature_similarity)(features, real), real


def test_the_budget_of_a_clip_goes_where_it_changes(two_places):
  similarity, real = two_places
  keep = keep_most_changed(1 - similarity, real, 3)
  assert np.flatnonzero(keep).tolist() == [0, 1, 4]


def test_similar_features_are_dropped(two_places):
  similarity, real = two_places
  keep = keep_dissimilar(similarity, real, threshold=0.5)
  assert np.flatnonzero(keep).tolist() == [0, 1, 4]
  keep = drop_least_changed(1 - similarity, real, 1)
  assert np.flatnonzero(keep).tolist() == [0, 1, 2, 4]


def test_thresholds_of_change_and_of_similarity():
  change = np.asarray([[np.inf, 0.5, 0.25, 1, np.nan]])
  real = np.arange(5)[None] < 4
  keep = keep_changed(change, real, threshold=0.5)
  assert keep.tolist() == [[True, False, False, True, False]]
  keep = keep_dissimilar(1 - change, real, threshold=0.5)
  assert keep.tolist() == [[True, True, False, True, False]]


@pytest.mark.parametrize("count", [1, 9, 20])
def test_most_changed_equals_a_sort(case, count):
  change, mask, _ = case
  keep = np.asarray(keep_most_changed(change, mask, count))
  for b in range(3):
    flat = change[b].ravel()
    order = sorted(np.flatnonzero(mask[b]), key=lambda i: (-flat[i], i))
    assert np.flatnonzero(keep[b]).tolist() == sorted(order[:count])


@pytest.mark.parametrize("count", [0, 2, 5])
def test_least_changed_equals_a_sort_in_every_frame(case, count):
  change, mask, first = case
  keep = np.asarray(drop_least_changed(change, mask, count))
  for b, t in np.ndindex(3, 4):
    places = np.flatnonzero(mask[b, t] & ~first[b, t])
    dropped = sorted(places, key=lambda i: (change[b, t, i], -i))[:count]
    expected = np.flatnonzero(mask[b, t])
    expected = [i for i in expected if i not in dropped]
    assert np.flatnonzero(keep[b, t]).tolist() == expected


def test_lengths_and_heads_equal_a_loop(case, rng):
  _, mask, _ = case
  keep = rng.random(mask.shape) < 0.4
  got = lengths_of(keep, mask)
  head, length = np.full(mask.shape, -1), np.zeros(mask.shape, int)
  for b, t, p in np.ndindex(mask.shape):
    if mask[b, t, p]:
      before = np.flatnonzero((keep & mask)[b, : t + 1, p])
      if len(before):
        head[b, t, p] = before[-1]
        length[b, before[-1], p] += 1
  np.testing.assert_array_equal(got.head, head)
  np.testing.assert_array_equal(got.length, length)


def test_lengths_sum_to_what_is_real(case, rng):
  _, mask, first = case
  keep = first | (rng.random(mask.shape) < 0.3)
  length = lengths_of(keep, mask).length
  np.testing.assert_array_equal(length.sum((1, 2)), mask.sum((1, 2)))


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "jit"])
def test_what_changed_since_it_was_kept_equals_a_loop(case, rng, eager):
  _, mask, _ = case
  x = rng.normal(size=(*mask.shape, 2)).astype(np.float32)
  x = np.where(mask[..., None], np.cumsum(x, axis=1), np.nan)
  run = functools.partial(
    keep_since_kept, difference=cosine_difference, threshold=0.2
  )
  keep = (run if eager else jax.jit(run))(x, x, mask)
  for b, p in np.ndindex(3, 5):
    held = None
    for t in range(4):
      expected = False
      if mask[b, t, p]:
        now = x[b, t, p] / np.linalg.norm(x[b, t, p])
        expected = held is None or 1 - now @ held > 0.2
        held = now if expected else held
      assert keep[b, t, p] == expected
