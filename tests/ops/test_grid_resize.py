"""Grids of features, brought to finer and coarser ones."""

import jax
import numpy as np
import pytest

from trajvit.ops.grid_resize import axis_weights, resize_grid


@pytest.mark.parametrize(
  ("before", "after", "weights"),
  [
    (2, 2, [[1, 0], [0, 1]]),
    (2, 4, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]),
    (2, 3, [[1, 0], [0.5, 0.5], [0, 1]]),
    (1, 3, [[1], [1], [1]]),
    (4, 2, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
    (3, 2, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
    (3, 1, [[1 / 3, 1 / 3, 1 / 3]]),
  ],
)
def test_weights_by_hand(before, after, weights):
  got = axis_weights(before, after)
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, weights, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(5, 7), (7, 5), (6, 4), (4, 9)])
def test_weights_keep_the_mean_and_what_is_constant(before, after):
  weights = axis_weights(before, after)
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
  assert (weights >= 0).all()
  if after < before:  # every old cell counts as much
    np.testing.assert_allclose(weights.sum(0), after / before, rtol=1e-5)
  else:  # a ramp stays one between the outermost centres
    got = weights @ (np.arange(before) + 0.5)
    want = (np.arange(after) + 0.5) * before / after
    np.testing.assert_allclose(got, want.clip(0.5, before - 0.5), rtol=1e-5)


def test_only_real_cells_are_read():
  """Finer in time, coarser along rows, as many columns."""
  x = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1, 1)
  mask = np.ones((1, 2, 4, 1), bool)
  mask[0, 0, 1] = mask[0, 1, 2:] = False
  x[~mask] = np.nan
  got, real = jax.jit(resize_grid, static_argnums=1)(x, (4, 2, 1), mask)
  # Rows 0 | 2 3 of the first step are real, 4 5 | none of the second: means 0
  # (from half of the weight) | 2.5 and 4.5 | none.
  second = (0.75 * 0.5 * 0 + 0.25 * 4.5) / (0.75 * 0.5 + 0.25)
  third = (0.25 * 0.5 * 0 + 0.75 * 4.5) / (0.25 * 0.5 + 0.75)
  want = [[0, 2.5], [second, 2.5], [third, 0], [4.5, 0]]
  np.testing.assert_array_equal(
    real[0, ..., 0], [[True, True], [True, True], [True, False], [True, False]]
  )
  np.testing.assert_allclose(got[0, ..., 0, 0], want, rtol=1e-6)


def test_refuses_other_axes():
  x = np.zeros((1, 2, 2, 3), np.float32)
  for grid, mask in (((2,), x[..., 0] == 0), ((2, 2), x[0, ..., 0] == 0)):
    with pytest.raises(ValueError, match=r"a grid with the axes of \(2, 2\)"):
      resize_grid(x, grid, mask)
