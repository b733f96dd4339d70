import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.codebook_usage import (
  codebook_statistics,
  count_codes,
  dead_codes,
  divergence_from_uniform,
  entropy_bits,
  expected_used,
  perplexity,
  used_of_expected,
  used_share,
)

UNIFORM, ONE_HOT, HALF = (
  np.full(64, 5),
  np.eye(64, dtype=int)[3] * 7,
  np.where(np.arange(64) < 32, 2, 0),
)
EXPECTED = {  # usage, entropy, perplexity, divergence, dead
  "uniform": (UNIFORM, 1, 6, 64, 0, 0),
  "one_hot": (ONE_HOT, 1 / 64, 0, 1, 6, 63 / 64),
  "half": (HALF, 1 / 2, 5, 32, 1, 1 / 2),
  "nothing": (np.zeros(64, int), 0, 0, 1, 6, 0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_known_distributions_in_numpy_exactly(name):
  counts, *expected = EXPECTED[name]
  found = (
    used_share(counts),
    entropy_bits(counts),
    perplexity(counts),
    divergence_from_uniform(counts),
    dead_codes(counts).mean(),
  )
  assert found == tuple(expected)


def test_leading_axes_are_apart_and_jax_agrees():
  counts = np.stack([UNIFORM, ONE_HOT, HALF, np.arange(64)])
  one = codebook_statistics(counts)
  other = jax.jit(codebook_statistics)(jnp.asarray(counts))
  assert one.keys() == other.keys()
  for name, value in one.items():
    assert value.shape == (4,) and value.dtype == np.float64
    np.testing.assert_allclose(other[name], value, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(
      value[3], codebook_statistics(counts[3])[name]
    )


def test_expected_usage_is_the_mean_over_draws(rng):
  draws = rng.integers(0, 50, (2000, 30))
  used = np.mean([len(set(row)) for row in draws])
  assert expected_used(30, 50) == pytest.approx(used, rel=0.02)
  assert expected_used(30, 50) == pytest.approx(50 * (1 - 0.98**30))
  assert expected_used(0, 50) == 0 and expected_used(1, 50) == 1
  assert expected_used(3, 1) == 1 and expected_used(0, 1) == 0
  # Few draws of many codes: the formula as written would lose its digits.
  many = expected_used(np.float64(10), 2**40)
  assert many == pytest.approx(10, rel=1e-9)


def test_usage_against_expectation_does_not_depend_on_the_draws(rng):
  for draws in (20, 200, 20000):
    counts = np.bincount(rng.integers(0, 1000, draws), minlength=1000)
    assert used_of_expected(counts) == pytest.approx(1, abs=0.15)
  assert used_of_expected(ONE_HOT) < 0.2
  assert used_of_expected(np.zeros(64, int)) == 1


def test_dead_codes_are_relative_to_the_mean():
  counts = np.asarray([1.0, 999.0, 3000.0])
  assert dead_codes(counts).tolist() == [True, False, False]
  assert not dead_codes(np.asarray([2.0, 998.0, 3000.0])).any()


def test_counts_are_those_of_numpy_and_leave_out_what_is_masked(rng):
  indices = rng.integers(-1, 10, (3, 40))
  found = jax.jit(count_codes, static_argnums=1)(indices, 10)
  expected = np.bincount(indices[indices >= 0], minlength=10)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == jnp.int32
  assert math.prod(indices.shape) > found.sum()
