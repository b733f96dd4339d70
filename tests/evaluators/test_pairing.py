"""Assignment on the host against SciPy, ties included."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trajvit.evaluators.pairing import best_pairs

SHAPES = [(1, 1), (3, 3), (2, 7), (7, 2), (6, 5), (12, 12), (4, 20)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [2, 4, 1000])
def test_chooses_what_scipy_does(shape, values):
  """Few values make many optima, of which it must find the same one."""
  rng = np.random.default_rng(values)
  for _ in range(40):
    cost = rng.integers(-1, values, shape) / 2
    rows, columns = best_pairs(cost)
    expected = linear_sum_assignment(cost)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(columns, expected[1])


def test_is_the_best_of_all():
  rng = np.random.default_rng(0)
  for _ in range(20):
    cost = rng.normal(size=(4, 6))
    best = min(
      cost[np.arange(4), list(columns)].sum()
      for columns in itertools.permutations(range(6), 4)
    )
    assert cost[best_pairs(cost)].sum() == pytest.approx(best)


def test_equal_costs_pair_in_order():
  for shape in [(3, 5), (5, 3)]:
    rows, columns = best_pairs(np.full(shape, 0.5))
    assert rows.tolist() == columns.tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape):
  rows, columns = best_pairs(np.zeros(shape))
  assert rows.shape == columns.shape == (0,)


@pytest.mark.parametrize("cost", [np.zeros(3), [[1.0, np.nan]], [[np.inf]]])
def test_refuses(cost):
  with pytest.raises(ValueError, match="finite numbers, got shape"):
    best_pairs(cost)
