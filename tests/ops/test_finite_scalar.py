"""FSQ's numbers, the indices they make, and gradients through rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.finite_scalar import (
  from_levels,
  normalize,
  squash,
  to_levels,
)
from trajvit.ops.mixed_radix import pack_digits, unpack_digits
from trajvit.ops.straight_through import straight_through

LEVELS = (8, 8, 8, 5, 5, 5)


def test_all_64000_indices_go_there_and_back():
  ids = np.arange(64000, dtype=np.int32)
  digits = unpack_digits(jnp.asarray(ids), LEVELS)
  np.testing.assert_array_equal(pack_digits(digits, LEVELS), ids)
  # The first channel is fastest, by NumPy's own order.
  expected = np.stack(np.unravel_index(ids, LEVELS, order="F"), -1)
  np.testing.assert_array_equal(digits, expected)
  # And through codes: what was rounded to them is what they are.
  codes = from_levels(digits, LEVELS)
  q = codes * (np.asarray(LEVELS) // 2)
  np.testing.assert_array_equal(to_levels(q, LEVELS), digits)
  assert len(np.unique(np.asarray(codes), axis=0)) == 64000


@pytest.mark.parametrize(
  "levels, low, high, codes",
  [
    (8, -4, 3, [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]),
    (5, -2, 2, [-1, -0.5, 0, 0.5, 1]),
    (2, -1, 0, [-1, 0]),
    (3, -1, 1, [-1, 0, 1]),
  ],
)
def test_range_of_a_channel(levels, low, high, codes):
  z = jnp.linspace(-20, 20, 4001)[:, None]
  squashed = squash(z, (levels,))
  digits = np.asarray(to_levels(squashed, (levels,)))
  q = digits - levels // 2
  assert (q.min(), q.max()) == (low, high)
  np.testing.assert_array_equal(np.unique(digits), np.arange(levels))
  np.testing.assert_array_equal(np.round(squashed), q)
  found = np.unique(from_levels(jnp.asarray(digits), (levels,)))
  np.testing.assert_array_equal(found, codes)
  assert (np.diff(q[:, 0]) >= 0).all()


def test_thousands_of_levels_stay_in_range():
  z = jnp.asarray([[-50.0], [50.0]])
  digits = to_levels(squash(z, (5000,)), (5000,))
  assert digits.ravel().tolist() == [0, 4999]


def test_zero_is_the_code_zero():
  zero = squash(jnp.zeros(6), LEVELS)
  np.testing.assert_allclose(zero, 0, atol=1e-6)
  assert not np.asarray(from_levels(to_levels(zero, LEVELS), LEVELS)).any()


def test_the_gradient_is_that_of_the_tanh(rng):
  z = rng.normal(size=(7, 6)).astype(np.float32)

  def code(z):
    squashed = squash(z, LEVELS)
    rounded = from_levels(to_levels(squashed, LEVELS), LEVELS)
    return straight_through(rounded, normalize(squashed, LEVELS)).sum()

  count = np.asarray(LEVELS)
  half = (count - 1) * 1.001 / 2
  shift = np.arctanh(np.where(count % 2, 0, 0.5) / half)
  expected = half / (count // 2) / np.cosh(z + shift) ** 2
  np.testing.assert_allclose(jax.jit(jax.grad(code))(z), expected, rtol=1e-4)


def test_straight_through_is_the_value_itself(rng):
  value, through = rng.normal(size=(2, 1000)).astype(np.float32)
  through = through * 1e4
  assert (value != through + (value - through)).any()
  np.testing.assert_array_equal(straight_through(value, through), value)
  grads = jax.grad(lambda v, t: straight_through(v, t).sum(), (0, 1))
  no, yes = grads(jnp.asarray(value), jnp.asarray(through))
  assert (no == 0).all() and (yes == 1).all()


def test_an_index_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="below 2\\^31"):
    pack_digits(jnp.zeros(31, jnp.int32), (2,) * 31)
  largest = jnp.ones(30, jnp.int32)
  assert pack_digits(largest, (2,) * 30) == 2**30 - 1
