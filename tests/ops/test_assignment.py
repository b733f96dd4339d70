import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trajvit.ops.assignment import linear_assignment

assign = jax.jit(linear_assignment)


def total(cost, columns):
  return np.take_along_axis(cost, np.asarray(columns)[..., None], -1).sum()


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (1, 1), (16, 16)])
def test_is_the_optimum_of_scipy(rng, shape):
  # 4 shapes x 250 cases. Half are integers, where many assignments tie.
  costs = rng.normal(size=(250, *shape)).astype(np.float32)
  costs[125:] = np.round(3 * costs[125:])
  got = np.asarray(assign(costs))
  for cost, columns in zip(costs, got, strict=True):
    assert len(set(columns)) == shape[0]
    best = cost[linear_sum_assignment(cost)].sum()
    np.testing.assert_allclose(total(cost, columns), best, atol=1e-5)


def test_overlaps_of_128_slots(rng):
  # As in training: few real rows, the rest all 0, and most overlaps 0.
  cost = np.zeros((2, 128, 128), np.float32)
  cost[:, :20] = -rng.random((2, 20, 128)) * (rng.random((2, 20, 128)) < 0.1)
  for one, columns in zip(cost, np.asarray(assign(cost)), strict=True):
    best = one[linear_sum_assignment(one)].sum()
    np.testing.assert_allclose(total(one, columns), best, atol=1e-5)


def test_leading_axes_are_samples(rng):
  cost = rng.normal(size=(2, 3, 4, 6))
  got = linear_assignment(cost)
  assert got.shape == (2, 3, 4) and got.dtype == jnp.int32
  np.testing.assert_array_equal(got[1, 2], linear_assignment(cost[1, 2]))


def test_no_gradient_passes(rng):
  cost = jnp.asarray(rng.normal(size=(3, 4)))
  gradient = jax.grad(
    lambda c: jnp.take_along_axis(c, linear_assignment(c)[:, None], 1).sum()
  )(cost)
  assert (gradient.sum(1) == 1).all()  # of the costs picked, not of the choice


def test_more_rows_than_columns_are_refused():
  with pytest.raises(ValueError, match="no more rows than columns, got 3 and"):
    linear_assignment(np.zeros((3, 2)))
