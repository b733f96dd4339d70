import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from trajvit.ops.nested import (
  MODES,
  keep_first,
  keep_probabilities,
  sample_keep,
)


def rule(mode, count, rng, draws):
  """The modes as they are told, one draw at a time."""
  uniform = rng.integers(1, count + 1, draws)
  if mode == "uniform":
    return uniform
  if mode == "pow2":
    return 2 ** rng.integers(0, int(np.log2(count)) + 1, draws)
  if mode == "uniform_pow2":
    return 2 ** np.ceil(np.log2(uniform)).astype(int)
  halves = [count]
  while halves[-1] > 1:
    halves.append(halves[-1] // 2)
  return rng.choice(halves, draws)


@pytest.mark.parametrize("mode", ["uniform", "pow2", "uniform_pow2", "halved"])
def test_probabilities_are_those_of_the_rule(rng, mode):
  draws = rule(mode, 16, rng, 20_000)
  seen = np.bincount(draws, minlength=17)[1:]
  expected = keep_probabilities(16, mode) * len(draws)
  possible = expected > 0
  assert not seen[~possible].any()
  assert chisquare(seen[possible], expected[possible]).pvalue > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_draws_follow_the_probabilities(mode):
  """A chi-square test of 100,000 draws; none is 0 or above N."""
  expected = keep_probabilities(256, mode)
  draws = np.asarray(sample_keep(jax.random.key(0), (100_000,), expected))
  seen = np.bincount(draws, minlength=257)
  assert len(seen) == 257 and seen[0] == 0
  possible = expected > 0
  assert not seen[1:][~possible].any()
  found = chisquare(seen[1:][possible], expected[possible] * len(draws))
  assert found.pvalue > 1e-3


@pytest.mark.parametrize(
  ("mode", "mean", "whole", "token_32"),
  [
    ("uniform", 128.5, 1 / 256, 0.879),
    ("pow2", 56.8, 0.111, 0.444),
    ("uniform_pow2", 170.7, 0.5, 0.938),
    ("halved", 56.8, 0.111, 0.444),
    ("zipf", 89.6, 0.0020, 0.681),
  ],
)
def test_moments_by_hand(mode, mean, whole, token_32):
  found = keep_probabilities(256, mode)
  assert found.sum() == pytest.approx(1)
  assert found @ np.arange(1, 257) == pytest.approx(mean, abs=0.05)
  assert found[-1] == pytest.approx(whole, abs=5e-4)
  assert found[31:].sum() == pytest.approx(token_32, abs=5e-4)


def test_a_share_keeps_all():
  found = keep_probabilities(8, "uniform", full=0.5)
  np.testing.assert_allclose(found, [0.5 / 8] * 7 + [0.5 + 0.5 / 8])


def test_any_number_can_be_halved():
  assert np.flatnonzero(keep_probabilities(6, "halved")).tolist() == [0, 2, 5]


def test_the_first_of_every_step_are_kept():
  mask = np.ones((2, 2, 3), bool)
  mask[1, 1] = False
  one = keep_first(mask, np.array([1, 3]))
  np.testing.assert_array_equal(one.sum(-1), [[1, 1], [3, 0]])
  each = keep_first(mask, np.array([[3, 2], [1, 1]]))
  np.testing.assert_array_equal(each.sum(-1), [[3, 2], [1, 0]])
  assert each[0, 1].tolist() == [True, True, False]
  assert keep_first(mask, 2).sum() == 6


def test_what_cannot_be_is_named():
  with pytest.raises(ValueError, match="power of two of tokens, got 6"):
    keep_probabilities(6, "pow2")
  with pytest.raises(ValueError, match="must be one of uniform, pow2"):
    keep_probabilities(6, "tail")
  with pytest.raises(ValueError, match="full must be in"):
    keep_probabilities(6, full=2)
