"""Token Sparse Attention against a loop over clips and heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import (
  AttentionMask,
  attention,
  sequence,
  use_implementation,
)
from trajvit.ops.attention.dynamic.token_sparse import (
  importance,
  token_sparse_attention,
  top_tokens,
)

LENGTH, HEADS, DIM, BLOCK = 13, 2, 3, 4
MASK = np.arange(LENGTH) < np.array([[LENGTH], [6]])


@pytest.fixture(autouse=True)
def quickly_compiled():
  """All implementations agree elsewhere."""
  with use_implementation("reference"):
    yield


def draw(rng):
  return rng.normal(size=(3, 2, LENGTH, HEADS, DIM)).astype(np.float32)


def coordinates():
  return sequence(LENGTH, jnp.asarray(MASK))


def run(query, key, value, count, bias=None, **options):
  scores = importance(query, key, coordinates(), BLOCK)
  chosen = top_tokens(scores, count, coordinates(), **options)
  return token_sparse_attention(query, key, value, *chosen, bias=bias)


def slow_importance(query, key, b, h):
  real = np.flatnonzero(MASK[b])
  total, votes = np.zeros(len(real)), 0
  for start in range(0, LENGTH, BLOCK):
    places = [i for i in range(start, start + BLOCK) if i in real]
    if places:
      logits = key[b, real, h] @ query[b, places, h].mean(0) / np.sqrt(DIM)
      total += np.exp(logits) / np.exp(logits).sum()
      votes += 1
  return total / votes


@pytest.mark.parametrize(
  ("count", "coverage", "always"), [(5, 1.0, 0), (9, 0.6, 2), (40, 1.0, 1)]
)
def test_equals_a_loop(rng, count, coverage, always):
  query, key, value = draw(rng)
  query[~MASK] = key[~MASK] = value[~MASK] = np.nan
  bias = rng.normal(size=MASK.shape).astype(np.float32)
  options = dict(coverage=coverage, always=always, bias=bias)
  got = jax.jit(lambda *x: run(*x, count, **options))(query, key, value)
  for b, h in np.ndindex(2, HEADS):
    score = slow_importance(query, key, b, h)
    assert abs(score.sum() - 1) < 1e-6
    kept, total = list(range(always)), score[:always].sum()
    for i in sorted(range(always, len(score)), key=lambda i: -score[i]):
      if len(kept) < count and total < coverage:
        kept.append(i)
        total += score[i]
    expected = np.zeros((LENGTH, DIM))
    for i in kept:
      logits = key[b, kept, h] @ query[b, i, h] / np.sqrt(DIM) + bias[b, kept]
      weights = np.exp(logits)
      expected[i] = weights @ value[b, kept, h] / weights.sum()
    np.testing.assert_allclose(got[b, :, h], expected, atol=1e-5)


def test_all_tokens_are_full_attention(rng):
  query, key, value = draw(rng)
  mask = AttentionMask(keys=jnp.asarray(MASK))
  expected = attention(query, key, value, mask=mask)
  got = jax.jit(lambda *x: run(*x, LENGTH))(query, key, value)
  np.testing.assert_allclose(got[MASK], expected[MASK], atol=1e-5)


def test_padding_is_never_read(rng):
  arrays = draw(rng)

  @jax.jit
  def loss(arrays):
    return jnp.square(run(*arrays, 5, always=1)).sum()

  clean = jax.value_and_grad(loss)(arrays)
  dirty = np.where(MASK[..., None, None], arrays, np.nan)
  value, grads = jax.value_and_grad(loss)(dirty)
  assert value == clean[0]
  np.testing.assert_array_equal(grads, clean[1])


def test_errors_name_what_came():
  scores = np.ones((2, HEADS, LENGTH), np.float32)
  with pytest.raises(ValueError, match=r"in \(0, 1\], got 0"):
    top_tokens(scores, 4, coordinates(), coverage=0)
  with pytest.raises(ValueError, match=r"in \[0, 4\], got 5"):
    top_tokens(scores, 4, coordinates(), always=5)
