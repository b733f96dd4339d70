"""The pooled correction against a loop, and where it is exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import (
  AttentionMask,
  attention,
  from_pattern,
  sequence,
  use_implementation,
)
from trajvit.ops.attention.dynamic.rectified import rectified_attention
from trajvit.ops.attention.dynamic.select import (
  forced_tiles,
  pooled_scores,
  top_blocks,
)
from trajvit.ops.attention.pattern import EMPTY, Dense

BLOCK, LENGTH, HEADS, DIM = 4, 18, 2, 3
MASK = np.arange(LENGTH) < np.array([[LENGTH], [11]])


@pytest.fixture(autouse=True)
def quickly_compiled():
  """All implementations agree elsewhere."""
  with use_implementation("reference"):
    yield


def make_base():
  return from_pattern(
    Dense(),
    sequence(LENGTH, jnp.asarray(MASK)),
    block_query=BLOCK,
    block_key=BLOCK,
  )


def draw(rng, scale=1.0):
  shape = 3, 2, LENGTH, HEADS, DIM
  return (scale * rng.normal(size=shape)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=3)
def run(query, key, value, k, bias=None):
  base = make_base()
  chosen = top_blocks(
    pooled_scores(query, key, base), k, base, forced=forced_tiles(base)
  )
  out, restored = rectified_attention(
    query, key, value, chosen, base, bias=bias
  )
  return out, restored, chosen


def full(query, key, value, bias=None):
  mask = AttentionMask(keys=jnp.asarray(MASK))
  return attention(query, key, value, mask=mask, bias=bias)


def slow(query, key, value, bias, chosen, b, h, i):
  """One query: exact tokens, and one pooled token for each restored block."""
  real = np.flatnonzero(MASK[b])
  row = i // BLOCK
  mean_query = query[b, [j for j in real if j // BLOCK == row], h].mean(0)
  mass, values, restored = [], [], []
  for block in range(-(-LENGTH // BLOCK)):
    tokens = [j for j in real if j // BLOCK == block]
    if not tokens:
      continue
    keys, size = key[b, tokens, h], np.exp(bias[b, tokens])
    if chosen.classes[b, h, row, block] != EMPTY:
      logits = keys @ query[b, i, h] / np.sqrt(DIM)
      mass += list(np.exp(logits) * size)
      values += list(value[b, tokens, h])
      continue
    share = size / size.sum()
    center = share @ keys
    spread = share @ (keys - center) ** 2
    if (mean_query**2 @ spread) / DIM < np.log(2):
      mass.append(size.sum() * np.exp(mean_query @ center / np.sqrt(DIM)))
      values.append(share @ value[b, tokens, h])
      restored.append(block)
  return np.array(mass) @ np.array(values) / np.sum(mass), restored


def test_equals_a_loop(rng):
  query, key, value = draw(rng, scale=1.5)
  query[~MASK] = key[~MASK] = value[~MASK] = np.nan
  bias = rng.normal(size=MASK.shape).astype(np.float32)
  out, restored, chosen = run(query, key, value, 0, bias)
  counts = []
  for b, i, h in np.ndindex(2, LENGTH, HEADS):
    if not MASK[b, i]:
      assert not np.any(out[b, i, h])
      continue
    expected, blocks = slow(query, key, value, bias, chosen, b, h, i)
    np.testing.assert_allclose(out[b, i, h], expected, atol=1e-5)
    found = np.flatnonzero(restored[b, h, i // BLOCK])
    np.testing.assert_array_equal(found, blocks)
    counts.append(len(blocks))
  # Some rows got blocks back, and of some not all.
  left = np.asarray(make_base().classes != EMPTY) & (chosen.classes == EMPTY)
  assert 0 < restored.sum() < left.sum() and len(set(counts)) > 1


def test_with_all_tiles_it_is_full_attention(rng):
  query, key, value = draw(rng)
  out, restored, _ = run(query, key, value, 5)
  assert not restored.any()
  np.testing.assert_allclose(
    out[MASK], full(query, key, value)[MASK], atol=1e-5
  )


def test_it_is_exact_where_blocks_are_constant(rng):
  query, key, value = draw(rng)
  first = np.arange(LENGTH) // BLOCK * BLOCK
  query, key = query[:, first], key[:, first]
  out, restored, chosen = run(query, key, value, 0)
  assert restored.any()
  expected = full(query, key, value)[MASK]
  np.testing.assert_allclose(out[MASK], expected, atol=1e-5)
  plain = attention(query, key, value, mask=chosen)[MASK]
  assert np.abs(plain - expected).max() > 1e-2


@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_padding_is_never_read(rng, fill):
  arrays = draw(rng)
  bias = np.zeros(MASK.shape, np.float32)

  @jax.jit
  def loss(arrays, bias):
    return jnp.square(run(*arrays, 1, bias)[0]).sum()

  value, clean = jax.value_and_grad(loss, (0, 1))(arrays, bias)
  dirty = np.where(MASK[..., None, None], arrays, fill)
  bias = np.where(MASK, bias, fill).astype(np.float32)
  moved, grads = jax.value_and_grad(loss, (0, 1))(dirty, bias)
  assert np.isfinite(value) and value == moved
  for a, b in zip(grads, clean, strict=True):
    assert np.isfinite(a).all()
    np.testing.assert_array_equal(a, b)
