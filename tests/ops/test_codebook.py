"""Codebooks that follow their tokens, against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.codebook import (
  averaged_codes,
  averaged_usage,
  nearest_codes,
  pulled_codes,
  restarted_codes,
)

SIZE, DIM, COUNT, DECAY = 6, 3, 10, 0.9
average = jax.jit(functools.partial(averaged_codes, decay=DECAY))


@pytest.fixture
def case(rng):
  codebook = rng.normal(size=(SIZE, DIM)).astype(np.float32)
  x = rng.normal(size=(COUNT, DIM)).astype(np.float32)
  mask = np.arange(COUNT) % 4 > 0
  return codebook, x, mask


def test_the_nearest_code_is_that_of_a_loop(case):
  codebook, x, _ = case
  expected = [np.argmin([np.linalg.norm(e - t) for e in codebook]) for t in x]
  assert nearest_codes(x, codebook).tolist() == expected


def test_averages_are_those_of_a_loop(case, rng):
  """With sums and counts kept apart, over several batches."""
  codebook, _, _ = case
  usage = np.full(SIZE, 1 / SIZE, np.float32)
  counts, sums = usage.astype(float), codebook / SIZE
  found, used = codebook, usage
  for _ in range(5):
    x = rng.normal(size=(COUNT, DIM)).astype(np.float32)
    indices = rng.integers(-1, SIZE - 1, COUNT)  # the last code: never
    real = indices >= 0
    found, used = average(found, used, x, indices)
    for c in range(SIZE):
      mine = indices == c
      counts[c] = DECAY * counts[c] + (1 - DECAY) * mine.sum() / real.sum()
      total = x[mine].sum(0) / real.sum()
      sums[c] = DECAY * sums[c] + (1 - DECAY) * total
    np.testing.assert_allclose(used, counts, rtol=1e-5)
    np.testing.assert_allclose(found, sums / counts[:, None], atol=1e-5)
    np.testing.assert_array_equal(found[-1], codebook[-1])
    other = averaged_usage(used, indices, decay=DECAY)
    np.testing.assert_allclose(other.sum(), 1, rtol=1e-5)


def test_a_batch_without_tokens_changes_nothing(case):
  codebook, x, _ = case
  usage = np.full(SIZE, 1 / SIZE, np.float32)
  found, used = average(codebook, usage, x, np.full(COUNT, -1))
  np.testing.assert_array_equal(found, codebook)
  np.testing.assert_array_equal(used, usage)


@jax.jit
def restart(codebook, usage, x, mask, key):
  return restarted_codes(codebook, usage, x, mask, key, threshold=0.1)


def test_dead_codes_go_to_different_real_tokens(case):
  codebook, x, mask = case
  usage = np.asarray([0.3, 0.0, 0.01, 0.4, 0.016, 0.274], np.float32)
  dead = usage < 0.1 / SIZE
  assert dead.tolist() == [False, True, True, False, True, False]
  seen = set()
  for seed in range(20):
    found, used = restart(codebook, usage, x, mask, jax.random.key(seed))
    np.testing.assert_array_equal(np.asarray(found)[~dead], codebook[~dead])
    np.testing.assert_array_equal(
      used, np.where(dead, 1 / np.float32(6), usage)
    )
    match = (np.asarray(found)[dead][:, None] == x).all(-1)  # [dead, N]
    assert (match.sum(1) == 1).all() and (match.sum(0) <= 1).all()
    assert not match[:, ~mask].any()
    seen |= set(np.flatnonzero(match.any(0)))
  assert seen == set(np.flatnonzero(mask))


def test_more_dead_codes_than_tokens_share_them(case):
  codebook, x, _ = case
  mask = np.arange(COUNT) == 7
  usage = np.zeros(SIZE, np.float32)
  found, _ = restart(codebook, usage, x, mask, jax.random.key(0))
  np.testing.assert_array_equal(found, np.tile(x[7], (SIZE, 1)))
  none = np.zeros_like(mask)
  found, used = restart(codebook, usage, x, none, jax.random.key(0))
  np.testing.assert_array_equal(found, codebook)
  np.testing.assert_array_equal(used, usage)


def test_rare_codes_are_pulled_to_their_nearest_token(case):
  codebook, x, mask = case
  usage = np.asarray([0, 1e-5, 1e-3, 0.3, 0.4, 0.299], np.float32)
  found = pulled_codes(codebook, usage, x, mask, decay=DECAY)
  for c in range(SIZE):
    near = min(x[mask], key=lambda t: np.linalg.norm(t - codebook[c]))
    d = np.exp(-10 * usage[c] * SIZE / (1 - DECAY) - 1e-3)
    expected = (1 - d) * codebook[c] + d * near
    np.testing.assert_allclose(found[c], expected, rtol=1e-4, atol=1e-6)
  none = np.zeros_like(mask)
  same = pulled_codes(codebook, usage, x, none, decay=DECAY)
  np.testing.assert_array_equal(same, codebook)


def test_no_gradient_passes(case):
  codebook, x, mask = case
  indices = jnp.zeros(COUNT, jnp.int32)
  usage = jnp.zeros(SIZE)

  def moved(x):
    one, _ = averaged_codes(codebook, usage, x, indices, decay=DECAY)
    two, _ = restarted_codes(
      codebook, usage, x, mask, jax.random.key(0), threshold=1.0
    )
    return (one + two + pulled_codes(codebook, usage, x, mask, decay=0.5)).sum()

  assert not np.asarray(jax.jit(jax.grad(moved))(x)).any()
