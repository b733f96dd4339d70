import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.bit_entropy import bit_entropy, entropy_of_mean

mean_entropy = jax.jit(entropy_of_mean, static_argnames="joint_bits")


def brute(p):
  """All probabilities [N, 2^L] of codes, bit by bit, from p(bit = 1) [N, L]."""
  codes = np.asarray(list(itertools.product([0, 1], repeat=p.shape[1])))
  return np.where(codes, p[:, None], 1 - p[:, None]).prod(-1)


def entropy(p):
  return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


@pytest.fixture
def case(rng):
  """11 tokens of 8 bits that depend on each other, three of them masked."""
  logits = rng.normal(size=(11, 1)) * 2 + rng.normal(size=(11, 8))
  mask = np.ones(11, bool)
  mask[[0, 4, 9]] = False
  p = 1 / (1 + np.exp(-logits))
  return logits.astype(np.float32), mask, p


def test_a_code_has_the_entropy_of_its_bits(case):
  logits, _, p = case
  found = bit_entropy(jnp.asarray(logits)).sum(-1)
  np.testing.assert_allclose(found, entropy(brute(p)), atol=1e-5)


def test_extreme_bits_have_none_and_a_finite_gradient():
  logits = jnp.asarray([-1e4, -100.0, 0, 100, 1e4])
  found, gradient = jax.vmap(jax.value_and_grad(bit_entropy))(logits)
  np.testing.assert_allclose(found, [0, 0, np.log(2), 0, 0], atol=1e-7)
  np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.parametrize("bits", [8, 5, 1])
def test_one_group_is_exact(case, bits):
  logits, mask, p = case
  found = mean_entropy(logits[:, :bits], mask, joint_bits=8)
  expected = entropy(brute(p[mask, :bits]).mean(0))
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_smaller_groups_are_looser_bounds(case):
  logits, mask, p = case
  found = [
    float(mean_entropy(logits, mask, joint_bits=b)) for b in (8, 4, 2, 1)
  ]
  assert found == sorted(found) and found[-1] - found[0] > 0.1
  separate = p[mask].mean(0)
  expected = entropy(np.stack([separate, 1 - separate], -1)).sum()
  np.testing.assert_allclose(found[-1], expected, atol=1e-5)
  # Groups of 3, 3 and 2 bits.
  groups = [brute(p[mask, i : i + 3]).mean(0) for i in (0, 3, 6)]
  expected = sum(entropy(group) for group in groups)
  got = mean_entropy(logits, mask, joint_bits=3)
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_bits_that_are_independent_reach_the_bound():
  # All four values of two bits, once each.
  logits = jnp.asarray([[x, y] for x in (-1.0, 2) for y in (-3.0, 0.5)])
  mask = jnp.ones(4, bool)
  one = mean_entropy(logits, mask, joint_bits=2)
  other = mean_entropy(logits, mask, joint_bits=1)
  np.testing.assert_allclose(one, other, atol=1e-6)


def test_certain_bits_have_a_finite_gradient(case):
  _, mask, _ = case
  logits = jnp.where(jnp.arange(8) % 2, 1e4, -1e4) * jnp.ones((11, 8))
  for b in (1, 8):
    found, gradient = jax.value_and_grad(mean_entropy)(
      logits, mask, joint_bits=b
    )
    assert found == 0 and np.isfinite(gradient).all()


def test_no_real_token_is_0(case):
  logits, mask, _ = case
  assert mean_entropy(logits, np.zeros_like(mask), joint_bits=8) == 0


def test_no_bits_a_group_are_refused(case):
  with pytest.raises(ValueError, match="at least 1, got 0"):
    entropy_of_mean(*case[:2], joint_bits=0)
