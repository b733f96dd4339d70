"""Rectified flow against closed forms."""

import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops import flow


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_euler_reaches_a_single_datum_in_any_number_of_steps(rng, steps):
  clean, noise = rng.normal(size=(2, 3, 4)).astype(np.float32)
  made = flow.solve(
    lambda x, sigma: (x - clean) / sigma, noise, flow.descent(steps)
  )
  np.testing.assert_allclose(made, clean, atol=1e-5)


def error(solver, steps):
  """At 0, of dx/dsigma = x cos(3 sigma) with x(1) = 1."""
  made = flow.solve(
    lambda x, sigma: x * jnp.cos(3 * sigma),
    jnp.ones(()),
    flow.descent(steps),
    solver=solver,
  )
  return abs(float(made) - np.exp(-np.sin(3) / 3))


def test_errors_fall_by_the_order_of_the_solver():
  euler = error("euler", 25) / error("euler", 100)
  assert 3.5 < euler < 4.5  # first order
  assert error("heun", 25) < error("euler", 100)
  assert error("heun", 5) / error("heun", 20) > 12  # second order


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 4), ("heun", 8)])
def test_a_state_goes_through_all_evaluations(solver, evaluations):
  def velocity(x, sigma, count):
    # Only the last evaluation moves x: by a whole step, or by half of one.
    return jnp.where(count == evaluations - 1, 16.0, 0.0), count + 1

  made = flow.solve(
    velocity,
    jnp.zeros(()),
    flow.descent(4),
    solver=solver,
    state=jnp.zeros((), jnp.int32),
  )
  assert made == {"euler": -4.0, "heun": -2.0}[solver]


def test_a_path_ends_in_its_data_and_its_noise(rng):
  clean, noise = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
  sigma = np.array([0, 1, 0.25, 0.5], np.float32)
  x = flow.interpolate(clean, noise, sigma)
  np.testing.assert_array_equal(x[0], clean[0])
  np.testing.assert_array_equal(x[1], noise[1])
  np.testing.assert_allclose(x[2], noise[2] / 4 + clean[2] * 3 / 4, atol=1e-6)
  velocity = flow.true_velocity(clean, noise)
  np.testing.assert_allclose(
    flow.clean_estimate(x, velocity, sigma), clean, atol=1e-6
  )
  levels = np.tile(sigma[:3], (4, 1))  # a level for each frame
  x = flow.interpolate(clean, noise, levels)
  np.testing.assert_array_equal(x[:, 0], clean[:, 0])
  np.testing.assert_array_equal(x[:, 1], noise[:, 1])


def test_laws_of_noise_levels():
  u = np.array([0.1, 0.3, 0.5, 0.9], np.float32)
  np.testing.assert_array_equal(flow.sigma_of(u, law="uniform"), u)
  normal = [statistics.NormalDist().inv_cdf(x) for x in u.tolist()]
  np.testing.assert_allclose(
    flow.sigma_of(u, law="logit_normal"),
    1 / (1 + np.exp(-np.array(normal))),
    atol=1e-6,
  )
  np.testing.assert_allclose(
    flow.sigma_of(u, law="mode", mode_scale=0), 1 - u, atol=1e-6
  )
  bend = np.cos(np.pi * u / 2) ** 2 - 1 + u
  np.testing.assert_allclose(
    flow.sigma_of(u, law="mode", mode_scale=0.25),
    1 - u - 0.25 * bend,
    atol=1e-6,
  )


@pytest.mark.parametrize("scale", [-1.0, 0.25, 1.75])
def test_the_mode_law_is_monotonic_and_fills_the_interval(scale):
  u = np.linspace(0, 1, 201, dtype=np.float32)
  sigma = np.asarray(flow.sigma_of(u, law="mode", mode_scale=scale))
  assert (np.diff(sigma) < 1e-6).all()
  np.testing.assert_allclose(sigma[[0, -1]], [1, 0], atol=1e-6)


def test_stratified_numbers_fill_every_part():
  u = flow.stratify(jax.random.uniform(jax.random.key(0), (16,)))
  np.testing.assert_array_equal(np.floor(u * 16), np.arange(16))


def test_levels_of_a_sampler():
  np.testing.assert_allclose(flow.descent(4), [1, 0.75, 0.5, 0.25, 0])
  np.testing.assert_allclose(
    flow.descent(2, shift=3.0), [1, 1.5 / 2, 0], atol=1e-6
  )


def test_refusals():
  with pytest.raises(ValueError, match="law must be one of .* got 'cosine'"):
    flow.sigma_of(jnp.zeros(1), law="cosine")
  with pytest.raises(ValueError, match="mode_scale must be in"):
    flow.sigma_of(jnp.zeros(1), law="mode", mode_scale=2.0)
  with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
    flow.descent(0)
  with pytest.raises(ValueError, match="shift must be positive, got 0"):
    flow.descent(1, shift=0)
  with pytest.raises(ValueError, match="solver must be one of"):
    flow.solve(lambda x, s: x, jnp.zeros(1), flow.descent(1), solver="rk4")
