"""The prior of codes: what it reads, and what its own guesses do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.models.prior import CodePrior
from trajvit.objectives import build_objectives
from trajvit.types import Batch, Clip

N, DIM, SIZE = 5, 3, 7


@functools.cache
def make(**options):
  """A drawn prior, and values and gradients by codes and codebook, compiled."""
  prior = drawn(
    lambda: CodePrior(
      dim=DIM,
      count=N,
      width=8,
      depth=1,
      num_heads=2,
      rngs=nnx.Rngs(params=0),
      **options,
    )
  )

  @jax.jit
  def run(codes, indices, mask, codebook, weights):
    def loss(codes, codebook):
      found = prior(codes, indices, mask, codebook, key=jax.random.key(0))
      return jnp.where(mask, weights * found["nll"], 0).sum(), found

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(codes, codebook)

  return prior, run


@pytest.fixture
def given(rng):
  """Codes, indices, mask, codebook, and a weight for each code's loss."""
  codebook = rng.normal(size=(SIZE, DIM)).astype(np.float32)
  indices = rng.integers(0, SIZE, (2, N)).astype(np.int32)
  mask = np.arange(N) < np.array([[N], [3]])
  return codebook[indices], indices, mask, codebook, np.ones((2, N), "f4")


def test_a_code_is_told_by_those_in_front_of_it(given):
  *head, weights = given
  _, run = make(rounds=1)
  for place in range(N):
    alone = np.where(np.arange(N) == place, weights, 0)
    _, (by_codes, by_codebook) = run(*head, alone)
    told = np.asarray(by_codes)[0].any(-1)
    assert told.tolist() == [at < place for at in range(N)]
    assert not np.asarray(by_codebook).any()


def test_equals_a_softmax_over_cosines(given):
  codes, indices, mask, codebook, weights = given
  prior, run = make(rounds=1)
  found = run(codes, indices, mask, codebook, weights)[0][1]
  logits = np.asarray(prior.logits(codes, mask, codebook), np.float64)
  assert np.abs(logits).max() <= 1 + 1e-6
  shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  want = -np.log(np.take_along_axis(shares, indices[..., None], -1)[..., 0])
  np.testing.assert_allclose(found["nll"][mask], want[mask], rtol=1e-5)
  right = logits.argmax(-1) == indices
  np.testing.assert_array_equal(found["correct"][mask], right[mask])


def test_masked_codes_are_not_read(given):
  codes, indices, mask, *rest = given
  _, run = make(rounds=1)
  (loss, found), clean = run(codes, indices, mask, *rest)
  dirty = np.where(mask[..., None], codes, np.nan)
  none = np.where(mask, indices, -1)
  (again, other), gradient = run(dirty, none, mask, *rest)
  np.testing.assert_array_equal(loss, again)
  np.testing.assert_array_equal(found["nll"][mask], other["nll"][mask])
  for x, y in zip(clean, gradient, strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_a_second_round_without_guesses_is_the_first(given):
  (_, once), gradient = make(rounds=1)[1](*given)
  (_, same), twice = make(rounds=2, mix=0.0)[1](*given)
  np.testing.assert_allclose(same["nll"], once["nll"], atol=1e-6)
  np.testing.assert_allclose(twice[0], gradient[0], atol=1e-6)


def test_a_second_round_of_guesses_alone_has_no_way_to_the_encoder(given):
  (_, once), gradient = make(rounds=1)[1](*given)
  (_, other), half = make(rounds=2, mix=1.0)[1](*given)
  np.testing.assert_allclose(half[0], gradient[0] / 2, atol=1e-6)
  assert np.abs(other["nll"] - once["nll"]).max() > 1e-3
  np.testing.assert_allclose(other["nll"][:, 0], once["nll"][:, 0], atol=1e-6)


def test_the_objective_is_the_mean_over_real_codes():
  nll = np.arange(8.0, dtype=np.float32).reshape(2, 4)
  mask = np.array([[True, True, True, False], [True] * 4])
  aux = {"prior": dict(nll=nll, correct=nll % 2 == 0, mask=mask)}
  clip = Clip(np.zeros((2, 1, 1, 1, 3), np.uint8))
  objective = build_objectives({"prior": {"weight": 0.5}})
  loss, metrics = objective({"aux": aux}, Batch(clip))
  np.testing.assert_allclose(loss, 0.5 * 25 / 7, rtol=1e-6)
  np.testing.assert_allclose(
    metrics["prior/bits"], 25 / 7 / np.log(2), rtol=1e-6
  )
  np.testing.assert_allclose(metrics["prior/correct"], 4 / 7, rtol=1e-6)
  valid = Batch(clip, valid=np.array([True, False]))
  np.testing.assert_allclose(objective({"aux": aux}, valid)[0], 0.5, rtol=1e-6)
  with pytest.raises(ValueError, match="aux has decoder"):
    objective({"aux": {"decoder": {}}}, Batch(clip))


def test_refusals(given):
  with pytest.raises(ValueError, match=r"mix must be in \[0, 1\], got 2"):
    make(mix=2)
  with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
    make(rounds=0)
  codes, indices, mask = (np.concatenate([x, x], 1) for x in given[:3])
  with pytest.raises(ValueError, match="at most 5 codes .* got 10"):
    make(rounds=1)[0](codes, indices, mask, given[3], key=jax.random.key(0))
