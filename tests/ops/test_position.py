import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.position import fourier, rotary, rotary_3d, sinusoid


def test_shared_bank_has_the_values_of_the_reference():
  got = sinusoid(jnp.array([0.3, 0.7]), 8, bank="shared")
  expected = [0.29552, 0.995503, 0.029995, 0.999955, 0.007, 0.999998, 7e-4, 1]
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_separate_bank_resolves_every_coordinate_alike():
  def moved(axis, bank):
    at = np.zeros((2, 2))
    at[1, axis] = 1.0 / 3
    a, b = np.asarray(sinusoid(jnp.array(at), 512, bank=bank))
    return np.linalg.norm(a - b)

  assert np.isclose(moved(0, "separate"), moved(1, "separate"))
  assert moved(1, "shared") < 0.05 * moved(0, "shared")


def test_sinusoid_refuses_what_it_cannot_do():
  with pytest.raises(ValueError, match="divisible by 4, got 6"):
    sinusoid(jnp.zeros(2), 6)
  with pytest.raises(ValueError, match="'separate' or 'shared', got 'x'"):
    sinusoid(jnp.zeros(2), 8, bank="x")


def test_rotary_has_the_values_of_the_reference():
  x = jnp.arange(1.0, 7)[None, None]  # [N = 1, K = 1, d = 6]
  got = rotary(x, jnp.array([1]), 4)[0, 0]
  expected = [-1.142640, 1.922076, 2.959851, 4.029799, 5, 6]
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_rotary_products_depend_on_the_distance_alone(rng):
  query, key = rng.normal(size=(2, 1, 1, 8)).astype(np.float32)

  def product(i, j):
    turned = (rotary(x, jnp.array([at]), 8) for x, at in ((query, i), (key, j)))
    return float(jnp.vdot(*turned))

  assert np.isclose(product(3, 5), product(10, 12), atol=1e-5)
  assert not np.isclose(product(3, 5), product(3, 9), atol=1e-3)


def test_rotary_3d_turns_a_block_of_channels_for_each_axis(rng):
  """Heads of 64: blocks of 10 channels, five frequencies, 34 left alone."""
  x = rng.normal(size=(2, 4, 1, 64)).astype(np.float32)
  positions = rng.integers(0, 9, (4, 3))
  got = jax.jit(rotary_3d)(x, positions)
  for axis in range(3):
    block = slice(10 * axis, 10 * axis + 10)
    turn = jax.jit(rotary, static_argnums=2)
    expected = turn(x[..., block], positions[:, axis], 10)
    np.testing.assert_allclose(got[..., block], expected, atol=1e-6)
  np.testing.assert_array_equal(got[..., 30:], x[..., 30:])


def test_rotary_3d_refuses_narrow_heads():
  with pytest.raises(ValueError, match="at least 12 channels, got 8"):
    rotary_3d(jnp.zeros((1, 1, 8)), jnp.zeros((1, 3)))


def test_fourier_ends_with_the_coordinates():
  x = jnp.array([[0.25, 1.0]])
  got = fourier(x, 3)
  assert got.shape == (1, 2 * 3 * 2 + 2)
  np.testing.assert_allclose(
    got[0, :3], np.sin(np.pi * 0.25 * 2.0 ** (np.arange(3) / 2)), atol=1e-6
  )
  np.testing.assert_allclose(got[0, -2:], [-0.5, 1.0])
