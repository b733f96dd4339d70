import jax
import numpy as np
import pytest

from trajvit.ops.assignment import linear_assignment
from trajvit.ops.transport import sinkhorn

solve = jax.jit(sinkhorn, static_argnames=("epsilon", "iterations"))


def slow(cost, mu, nu, epsilon, iterations):
  """Sinkhorn's iterations as they are written, in float64."""
  kernel = np.exp(-cost.astype(np.float64) / epsilon)
  v = np.ones(len(nu))
  for _ in range(iterations):
    u = mu / (kernel @ v)
    v = nu / (kernel.T @ u)
  return u[:, None] * kernel * v


@pytest.fixture
def case(rng):
  """All real, some rows and columns, no column, no row; NaN elsewhere."""
  cost = rng.random((4, 6, 5)).astype(np.float32)
  rows, columns = np.ones((4, 6), bool), np.ones((4, 5), bool)
  rows[1], columns[1] = np.arange(6) % 3 > 0, np.arange(5) != 2
  columns[2], rows[3] = False, False
  pair = rows[:, :, None] & columns[:, None]
  return np.where(pair, cost, np.nan), rows, columns


@pytest.mark.parametrize("run", [sinkhorn, solve], ids=["eager", "jit"])
def test_the_plan_of_two_points(run):
  cost = np.asarray([[0.0, 1], [1, 0]])
  both = np.ones(2, bool)
  plan = run(cost, both, both, epsilon=1.0)
  expected = [[0.36553, 0.13447], [0.13447, 0.36553]]
  np.testing.assert_allclose(plan, expected, atol=1e-5)


def test_equals_a_loop_on_what_is_real(case):
  cost, rows, columns = case
  plan = np.asarray(solve(cost, rows, columns, epsilon=0.1))
  for b in range(2):
    i, j = np.flatnonzero(rows[b]), np.flatnonzero(columns[b])
    mu, nu = np.full(len(i), 1 / len(i)), np.full(len(j), 1 / len(j))
    expected = np.zeros((6, 5))
    expected[np.ix_(i, j)] = slow(cost[b][np.ix_(i, j)], mu, nu, 0.1, 50)
    np.testing.assert_allclose(plan[b], expected, atol=1e-6)
  assert not plan[2:].any()


def test_masses_are_the_sums(case, rng):
  cost, rows, columns = case
  mu, nu = rng.random((4, 6)), rng.random((4, 5))
  mu[0, 3] = 0  # a row without mass, and without a mask
  mu, nu = np.where(rows, mu, 0), np.where(columns, nu, 0)
  mu /= np.maximum(mu.sum(1, keepdims=True), 1e-9)
  nu /= np.maximum(nu.sum(1, keepdims=True), 1e-9)
  plan = solve(
    cost,
    rows,
    columns,
    epsilon=0.1,
    iterations=1000,
    row_mass=mu,
    column_mass=nu,
  )
  np.testing.assert_allclose(plan.sum(1)[:2], nu[:2], atol=1e-6)
  np.testing.assert_allclose(plan.sum(2)[:2], mu[:2], atol=1e-3)
  assert not plan[0, 3].any()


def test_little_entropy_is_the_assignment(rng):
  cost = rng.random((5, 5)).astype(np.float32)
  every = np.ones(5, bool)
  plan = solve(cost, every, every, epsilon=2e-3, iterations=1000)
  columns = linear_assignment(cost)
  np.testing.assert_allclose(plan[np.arange(5), columns], 0.2, atol=0.02)


def test_permuting_rows_and_columns_permutes_the_plan(case, rng):
  cost, rows, columns = case
  i, j = rng.permutation(6), rng.permutation(5)
  plan = solve(cost, rows, columns, epsilon=0.1)
  permuted = solve(cost[:, i][:, :, j], rows[:, i], columns[:, j], epsilon=0.1)
  np.testing.assert_allclose(permuted, plan[:, i][:, :, j], atol=1e-6)


def test_the_gradient_is_right_and_never_reads_padding(case, rng):
  cost, rows, columns = case
  weight = rng.normal(size=(6, 5)).astype(np.float32)

  def loss(cost):
    return (weight * sinkhorn(cost, rows, columns, epsilon=0.1)).sum()

  gradient = np.asarray(jax.jit(jax.grad(loss))(cost))
  pair = rows[:, :, None] & columns[:, None]
  assert np.isfinite(gradient).all() and not gradient[~pair].any()
  mu, nu = np.full(6, 1 / 6), np.full(5, 1 / 5)
  for at in ((0, 0), (3, 4)):
    step = np.zeros((6, 5))
    step[at] = 1e-5
    up, down = (
      (weight * slow(cost[0] + s, mu, nu, 0.1, 50)).sum() for s in (step, -step)
    )
    slope = (up - down) / 2e-5
    np.testing.assert_allclose(gradient[0][at], slope, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("options", [{"epsilon": 0}, {"iterations": 0}])
def test_options_that_cannot_be_are_refused(case, options):
  with pytest.raises(ValueError, match="epsilon|iterations"):
    sinkhorn(*case, **{"epsilon": 1.0} | options)
