"""Optimal transport between two sets of tokens."""

import functools

import jax
import jax.numpy as jnp

# Stands for the logarithm of 0; sums of two of them are still finite.
LOWEST = -1e30


def sinkhorn(
  cost: jax.Array,
  row_mask: jax.Array,
  column_mask: jax.Array,
  *,
  epsilon: float,
  iterations: int = 50,
  row_mass: jax.Array | None = None,
  column_mass: jax.Array | None = None,
) -> jax.Array:
  """Returns the entropic transport plan between rows and columns.

  The minimum of <T, C> - epsilon * entropy(T) over plans T whose rows sum to mu
  and columns to nu (Cuturi, arXiv:1306.0895), by a fixed number of Sinkhorn's
  iterations on the logarithms of the scalings. The last one sets the columns,
  whose sums are exact; those of the rows are as near as the iterations get.

  Args:
    cost: [..., M, K] float.
    row_mask: [..., M] bool, True = real row.
    column_mask: [..., K] bool, True = real column.
    epsilon: above 0, on the scale of the costs: the larger the smoother.
    iterations: at least 1.
    row_mass: [..., M] float32, mu, not negative; None for equal masses of sum 1
      over the real rows.
    column_mass: [..., K] float32, nu, of the same sum; None likewise.

  Returns:
    [..., M, K] float32, 0 in masked rows and columns, in those of mass 0, and
    everywhere if no row or no column is real. Gradients pass through the
    iterations.

  Raises:
    ValueError: `epsilon` is not above 0, or there are no iterations.
  """
  if epsilon <= 0:
    raise ValueError(f"epsilon must be above 0, got {epsilon}")
  if iterations < 1:
    raise ValueError(f"iterations must be at least 1, got {iterations}")
  if row_mass is None:
    row_mass = _equal_mass(row_mask)
  if column_mass is None:
    column_mass = _equal_mass(column_mask)
  solve = functools.partial(_sinkhorn, epsilon, iterations)
  return jnp.vectorize(solve, signature="(m,k),(m),(k),(m),(k)->(m,k)")(
    cost, row_mask, column_mask, row_mass, column_mass
  )


def _equal_mass(mask):
  return mask / jnp.maximum(mask.sum(-1, keepdims=True), 1)


def _sinkhorn(
  epsilon, iterations, cost, row_mask, column_mask, row_mass, column_mass
):
  """[M, K] and what belongs to its rows and columns to [M, K]."""
  row_mass, column_mass = (
    mass.astype(jnp.float32) for mass in (row_mass, column_mass)
  )
  row_mask &= row_mass > 0
  column_mask &= column_mass > 0
  # A row without any column to go to, or the other way round, goes nowhere.
  row_mask &= column_mask.any()
  column_mask &= row_mask.any()
  pair = row_mask[:, None] & column_mask
  kernel = -jnp.where(pair, cost, 0).astype(jnp.float32) / epsilon
  log_mu = jnp.log(jnp.where(row_mask, row_mass, 1))
  log_nu = jnp.log(jnp.where(column_mask, column_mass, 1))

  def log_sum(x, axis):
    return jax.nn.logsumexp(jnp.where(pair, x, LOWEST), axis=axis)

  def turn(_, scalings):
    _, v = scalings
    u = jnp.where(row_mask, log_mu - log_sum(kernel + v, 1), 0)
    v = log_nu - log_sum(kernel + u[:, None], 0)
    return u, jnp.where(column_mask, v, 0)

  start = jnp.zeros_like(log_mu), jnp.zeros_like(log_nu)
  u, v = jax.lax.fori_loop(0, iterations, turn, start)
  plan = jnp.where(pair, kernel + u[:, None] + v, LOWEST)
  return jnp.exp(plan)
