import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.perturbed import perturbed_top_k, top_k_indicator

SCORE = np.array([[0.3, 0.9, 0.1, 0.5], [0.2, 0.1, 0.0, 9.0]], np.float32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)


@functools.partial(jax.jit, static_argnames=("k", "sigma", "samples"))
def run(score, mask, read, k=2, sigma=0.05, samples=20):
  """The indicator, and the gradient of its product with `read`."""

  def loss(score):
    key = jax.random.key(0)
    options = dict(key=key, sigma=sigma, samples=samples, mask=mask)
    indicator = perturbed_top_k(score, k, **options)
    return (indicator * read).sum(), indicator

  (_, indicator), gradient = jax.value_and_grad(loss, has_aux=True)(score)
  return indicator, gradient


def test_without_noise_it_is_the_sorted_choice():
  """Scores .9 and .5 are slots 1 and 3; the masked 9.0 is not chosen."""
  indicator, _ = run(SCORE, MASK, np.zeros((2, 2, 4)), sigma=1e-6)
  chosen = indicator.argmax(-1).tolist()
  assert chosen == [[1, 3], [0, 1]]
  np.testing.assert_array_equal(indicator, np.eye(4)[np.array(chosen)])
  np.testing.assert_array_equal(indicator, top_k_indicator(SCORE, 2, mask=MASK))


def test_the_mean_and_its_gradient_are_those_of_two_normals():
  """P(the first of two wins) = Phi((a - b) / (sqrt(2) sigma))."""
  sigma, gap = 0.5, 0.3
  score = np.array([[gap, 0.0]], np.float32)
  read = np.array([[[1.0, 0.0]]], np.float32)
  mask = np.ones((1, 2), bool)
  indicator, gradient = run(score, mask, read, k=1, sigma=sigma, samples=20000)
  z = gap / (math.sqrt(2) * sigma)
  wins = 0.5 * (1 + math.erf(z / math.sqrt(2)))
  slope = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (math.sqrt(2) * sigma)
  np.testing.assert_allclose(indicator[0, 0], [wins, 1 - wins], atol=0.02)
  np.testing.assert_allclose(gradient[0], [slope, 0], atol=0.05)


def test_masked_slots_come_last_and_have_no_gradient():
  dirty = np.where(MASK, SCORE, np.nan)
  read = np.ones((2, 4, 4), np.float32) * np.arange(4)
  indicator, gradient = run(dirty, MASK, read, k=4)
  np.testing.assert_array_equal(indicator[1, 3], [0, 0, 0, 1])
  np.testing.assert_allclose(indicator.sum(-1), jnp.ones((2, 4)), rtol=1e-6)
  assert np.isfinite(gradient).all() and gradient[1, 3] == 0


@pytest.mark.parametrize("options", [dict(sigma=0.0), dict(samples=30)])
def test_refuses(options):
  with pytest.raises(ValueError, match="got 0.0|got 30"):
    perturbed_top_k(SCORE, 2, key=jax.random.key(0), **options)
