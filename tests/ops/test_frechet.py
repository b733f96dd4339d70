"""The Fréchet distance of sets whose distance is known."""

import numpy as np
import pytest
import scipy.linalg

from trajvit.ops.frechet import (
  FeatureSums,
  frechet_distance,
  split_distance,
)


def with_moments(rng, mean, covariance, count=40):
  """Features that have just this mean and covariance."""
  x = rng.normal(size=(count, len(mean)))
  x -= x.mean(0)
  white = np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(x.T))))
  return mean + x @ white.T @ np.linalg.cholesky(covariance).T


def distance(x, y):
  return frechet_distance(FeatureSums.of(x), FeatureSums.of(y)).distance


def test_sums_have_the_moments(rng):
  x = 5 + rng.normal(size=(20, 3))
  mean, covariance = FeatureSums.of(x).moments()
  np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
  np.testing.assert_allclose(covariance, np.cov(x.T), rtol=1e-10)


def test_equal_sets_have_none(rng):
  x = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
  assert distance(x, x) < 1e-9
  # More channels than features, so that covariances are singular.
  wide = 3 + rng.normal(size=(5, 12))
  found = frechet_distance(FeatureSums.of(wide), FeatureSums.of(wide[::-1]))
  assert 0 <= found.distance < 1e-5 and found.imaginary < 1e-5


def test_in_one_dimension(rng):
  x = with_moments(rng, np.array([1.0]), np.array([[4.0]]))
  y = with_moments(rng, np.array([-2.0]), np.array([[0.25]]))
  np.testing.assert_allclose(distance(x, y), 9 + 1.5**2, rtol=1e-9)


def test_a_move_counts_by_its_square(rng):
  x = rng.normal(size=(30, 4))
  move = np.array([3.0, 0, -4, 0])
  np.testing.assert_allclose(distance(x, x + move), 25, rtol=1e-9)


def test_covariances_of_one_basis(rng):
  """Then it is the sum over axes of (s - s')^2."""
  basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
  one, other = rng.uniform(0.1, 3, (2, 5))
  x = with_moments(rng, np.zeros(5), (basis * one**2) @ basis.T)
  y = with_moments(rng, np.ones(5), (basis * other**2) @ basis.T)
  expected = 5 + np.square(one - other).sum()
  np.testing.assert_allclose(distance(x, y), expected, rtol=1e-9)


def test_equals_the_root_of_the_product(rng):
  x = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
  y = 1 + rng.normal(size=(30, 6)) @ rng.normal(size=(6, 6))
  a, b = np.cov(x.T), np.cov(y.T)
  root = scipy.linalg.sqrtm(a @ b).real
  expected = np.square(x.mean(0) - y.mean(0)).sum()
  expected += np.trace(a + b - 2 * root)
  np.testing.assert_allclose(distance(x, y), expected, rtol=1e-9)
  np.testing.assert_allclose(distance(y, x), expected, rtol=1e-9)
  turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  np.testing.assert_allclose(distance(x @ turn, y @ turn), expected, rtol=1e-9)


def test_parts_add_up_to_the_whole(rng):
  x = rng.normal(size=(23, 4)).astype(np.float32)
  whole = FeatureSums.of(x)
  cuts = np.split(x, [3, 3, 17])
  parts = sum(map(FeatureSums.of, cuts), FeatureSums.empty(4))
  assert parts.count == whole.count == 23
  np.testing.assert_allclose(parts.total, whole.total, rtol=1e-12)
  np.testing.assert_allclose(parts.outer, whole.outer, rtol=1e-12)


def test_rows_that_are_not_valid_are_not_read(rng):
  x = rng.normal(size=(6, 2))
  valid = np.array([True, True, False, True, False, True])
  expected = FeatureSums.of(x[valid])
  x[~valid] = np.nan
  found = FeatureSums.of(x, valid)
  assert found.count == 4
  np.testing.assert_array_equal(found.outer, expected.outer)
  with pytest.raises(FloatingPointError, match="not finite"):
    FeatureSums.of(x)


def test_what_rounding_makes_negative_is_told():
  """Covariances that no set has, as rounding may leave them."""
  sums = FeatureSums(3, np.zeros(2), 2 * np.diag([1.0, -4.0]))
  plain = FeatureSums(3, np.zeros(2), 2 * np.diag([1.0, 1.0]))
  assert frechet_distance(plain, sums).imaginary == 2
  assert frechet_distance(plain, plain).imaginary == 0


def test_halves_of_a_set_are_near_and_nearer_the_larger_it_is(rng):
  x = rng.normal(size=(4000, 4))
  far = distance(x, x + 1)
  floors = [split_distance(x[:n]).distance for n in (40, 400, 4000)]
  assert floors[0] > floors[1] > floors[2] > 0 and floors[2] < 0.01 * far
  assert split_distance(x[:40]) == split_distance(x[:40])
  assert split_distance(x[:40]) != split_distance(x[:40], seed=1)


def test_a_group_is_not_cut_in_two(rng):
  """Frames of a clip that are all alike say no more than one of them."""
  x = rng.normal(size=(40, 2))
  groups = np.arange(40).repeat(50)
  apart = split_distance(x.repeat(50, axis=0), groups=groups).distance
  assert apart == pytest.approx(split_distance(x).distance, rel=0.1)
  assert apart > 10 * split_distance(x.repeat(50, axis=0)).distance


def test_what_is_wrong_is_named(rng):
  x = rng.normal(size=(6, 3))
  with pytest.raises(ValueError, match=r"must be \[n, C\], got \[6\]"):
    FeatureSums.of(x[:, 0])
  with pytest.raises(ValueError, match="needs 2 features, got 1"):
    distance(x[:1], x)
  with pytest.raises(ValueError, match="as many channels, got 3 and 2"):
    distance(x, x[:, :2])
  with pytest.raises(ValueError, match="as many channels, got 3 and 2"):
    FeatureSums.of(x) + FeatureSums.of(x[:, :2])
