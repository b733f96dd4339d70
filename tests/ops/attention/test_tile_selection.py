"""Choices of tiles against loops, and that they carry nothing between clips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import attend, from_pattern, sequence
from trajvit.ops.attention.dynamic.select import (
  density,
  forced_tiles,
  mixed_tiles,
  pooled,
  pooled_scores,
  register_tiles,
  top_blocks,
  top_mass,
)
from trajvit.ops.attention.dynamic.vertical_slash import (
  estimate,
  vertical_slash,
)
from trajvit.ops.attention.pattern import EMPTY, Dense

BLOCK, LENGTH, HEADS, DIM = 4, 22, 2, 3  # 6 blocks, the last one cut


def padded_base():
  """Two clips: all tokens real, and the last 7 padding."""
  mask = np.arange(LENGTH) < np.array([[LENGTH], [15]])
  coordinates = sequence(LENGTH, mask)
  return mask, from_pattern(
    Dense(), coordinates, block_query=BLOCK, block_key=BLOCK
  )


def packed_base():
  """A row of clips of 9, 8 and 3 tokens: blocks 2 and 4 hold two of them."""
  segments = np.repeat([[0, 1, 2, -1]], [9, 8, 3, 2], axis=1)
  coordinates = sequence(LENGTH, None, jnp.asarray(segments))
  return segments, from_pattern(
    Dense(), coordinates, block_query=BLOCK, block_key=BLOCK
  )


def draw(rng, count=3, batch=2):
  shape = count, batch, LENGTH, HEADS, DIM
  return rng.normal(size=shape).astype(np.float32)


def test_pools_are_over_real_tokens(rng):
  mask, base = padded_base()
  x = draw(rng)[0]
  x[~mask] = np.nan
  got = pooled(x, base.key, BLOCK, ("max", "min", "mean"))
  assert got.shape == (2, HEADS, 6, 3 * DIM)
  for b, h, n in np.ndindex(got.shape[:3]):
    places = [i for i in range(4 * n, min(4 * n + 4, LENGTH)) if mask[b, i]]
    rows = x[b, places, h] if places else np.zeros((1, DIM))
    expected = np.concatenate([rows.max(0), rows.min(0), rows.mean(0)])
    np.testing.assert_allclose(got[b, h, n], expected, atol=1e-6)


def test_pooled_scores_are_logits_of_means(rng):
  _, base = padded_base()
  query, key, _ = draw(rng)
  got = pooled_scores(query, key, base)
  expected = np.mean(query[0, 4:8, 1], 0) @ np.mean(key[0, 8:12, 1], 0)
  np.testing.assert_allclose(
    got[0, 1, 1, 2], expected / np.sqrt(DIM), rtol=1e-5
  )


def slow_choice(scores, base, forced, enough):
  """Tiles in by force, then the best others until `enough(taken, left)`."""
  classes = np.broadcast_to(base.classes, scores.shape)
  always = np.broadcast_to(forced | np.asarray(mixed_tiles(base)), scores.shape)
  kept = (classes != EMPTY) & always
  for at in np.ndindex(scores.shape[:3]):
    left = [
      i
      for i in range(scores.shape[3])
      if classes[at][i] != EMPTY and not always[at][i]
    ]
    left.sort(key=lambda i: (-scores[at][i], i))
    taken = []
    while left and not enough(
      [scores[at][i] for i in taken], [scores[at][i] for i in left]
    ):
      taken.append(left.pop(0))
    kept[at][taken] = True
  return np.where(kept, classes, EMPTY)


@pytest.mark.parametrize("make", [padded_base, packed_base])
@pytest.mark.parametrize("k", [0, 2, 6])
def test_top_blocks_equals_a_loop(rng, make, k):
  base = make()[1]
  # Few values, so that there are ties.
  scores = rng.integers(0, 3, (2, HEADS, 6, 6)).astype(np.float32)
  forced = forced_tiles(base)
  got = jax.jit(lambda s: top_blocks(s, k, base, forced=forced))(scores)
  expected = slow_choice(scores, base, forced, lambda taken, _: len(taken) >= k)
  np.testing.assert_array_equal(got.classes, expected)
  assert got.dropped == 0
  if k == 6:
    full = np.broadcast_to(base.classes, got.classes.shape)
    np.testing.assert_array_equal(got.classes, full)


@pytest.mark.parametrize("mass", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("most", [None, 2])
def test_top_mass_equals_a_loop(rng, mass, most):
  base = padded_base()[1]
  scores = rng.normal(size=(2, HEADS, 6, 6)).astype(np.float32)
  forced = forced_tiles(base, sinks=0)

  def enough(taken, left):
    if most is not None and len(taken) >= most:
      return True
    share = np.exp(taken).sum() / np.exp(taken + left).sum()
    return mass < 1 and share >= mass

  options = dict(most=most, forced=forced)
  got = jax.jit(lambda s: top_mass(s, mass, base, **options))(scores)
  expected = slow_choice(scores, base, forced, enough)
  np.testing.assert_array_equal(got.classes, expected)


def test_what_does_not_fit_is_counted(rng):
  base = padded_base()[1]
  scores = rng.normal(size=(2, HEADS, 6, 6)).astype(np.float32)
  forced = forced_tiles(base)
  fits = top_blocks(scores, 2, base, forced=forced, capacity=4)
  assert fits.dropped == 0 and fits.key_lists.index.shape[-1] == 4
  tight = top_blocks(scores, 2, base, forced=forced, capacity=3)
  longer = np.asarray(fits.key_lists.count) > 3
  assert tight.dropped == longer.sum() > 0
  np.testing.assert_allclose(
    density(fits), fits.key_lists.count.sum() / (2 * HEADS * 36)
  )


def test_registers_meet_all_blocks(rng):
  base = padded_base()[1]
  register = np.zeros((2, base.query.segment.shape[1]), np.int32)
  register[:, 9] = 1
  coordinates = dataclasses.replace(base.query, register=register)
  base = dataclasses.replace(base, query=coordinates, key=coordinates)
  scores = rng.normal(size=(2, HEADS, 6, 6)).astype(np.float32)
  got = top_blocks(scores, 1, base, forced=register_tiles(base))
  listed = np.asarray(base.classes[:, 0]) != EMPTY
  for head in range(HEADS):
    chosen = np.asarray(got.classes[:, head]) != EMPTY
    np.testing.assert_array_equal(chosen[:, 2], listed[:, 2])
    np.testing.assert_array_equal(chosen[:, :, 2], listed[:, :, 2])
  assert (np.asarray(got.classes) != EMPTY).sum() < HEADS * listed.sum()


def test_tiles_of_another_pattern_can_be_forced(rng):
  base = padded_base()[1]
  scores = rng.normal(size=(2, HEADS, 6, 6)).astype(np.float32)
  other = top_blocks(scores, 2, base)
  got = top_blocks(-scores, 1, base, forced=other.classes != EMPTY)
  assert np.all(got.classes[other.classes != EMPTY] != EMPTY)
  assert np.all(got.key_lists.count <= other.key_lists.count + 1)


def choose(name, query, key, base):
  scores = pooled_scores(query, key, base)
  forced = forced_tiles(base, diagonal=False, sinks=0)
  if name == "top_blocks":
    return top_blocks(scores, 1, base, forced=forced)
  return top_mass(scores, 0.5, base, forced=forced)


@pytest.mark.parametrize("name", ["top_blocks", "top_mass"])
def test_a_clip_does_not_touch_the_others_of_its_row(rng, name):
  segments, base = packed_base()
  arrays = draw(rng, batch=1)
  other = draw(rng, batch=1) * 5
  second = (segments == 1)[..., None, None]

  @jax.jit
  def run(query, key, value):
    def loss(query, key, value):
      chosen = choose(name, query, key, base)
      out = attend(query, key, value, mask=chosen).out
      return jnp.where(second, jnp.square(out), 0).sum(), out

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(query, key, value)

  (_, clean), grads = run(*arrays)
  # Clips before and after the second one, and padding.
  dirty = [np.where(second, x, y) for x, y in zip(arrays, other, strict=True)]
  dirty = [np.where((segments < 0)[..., None, None], np.nan, x) for x in dirty]
  (_, moved), moved_grads = run(*dirty)
  keep = segments == 1
  np.testing.assert_array_equal(np.asarray(moved)[keep], clean[keep])
  assert not np.array_equal(
    np.asarray(moved)[segments == 0], clean[segments == 0]
  )
  for a, b in zip(grads, moved_grads, strict=True):
    np.testing.assert_array_equal(a, b)


def slow_estimate(query, key, mask, last):
  rows = -(-LENGTH // BLOCK)
  columns, diagonals = np.zeros((2, 2, HEADS, rows))
  for b, h in np.ndindex(2, HEADS):
    real = np.flatnonzero(mask[b])
    for i in real[-last:]:
      logits = key[b, real, h] @ query[b, i, h] / np.sqrt(DIM)
      share = np.exp(logits) / np.exp(logits).sum()
      for j, weight in zip(real, share, strict=True):
        columns[b, h, j // BLOCK] += weight
        diagonals[b, h, abs(i // BLOCK - j // BLOCK)] += weight
  return columns, diagonals


def test_vertical_slash_equals_a_loop(rng):
  mask, base = padded_base()
  query, key, _ = draw(rng)
  query[~mask] = key[~mask] = np.nan
  columns, diagonals = slow_estimate(query, key, mask, last=5)
  got = jax.jit(lambda *x: estimate(*x, base, last=5))(query, key)
  np.testing.assert_allclose(got[0], columns, atol=1e-5)
  np.testing.assert_allclose(got[1], diagonals, atol=1e-5)

  forced = forced_tiles(base, diagonal=False)
  options = dict(columns=1, diagonals=2, last=5, forced=forced)
  chosen = jax.jit(lambda *x: vertical_slash(*x, base, **options))(query, key)
  for b, h, a, c in np.ndindex(chosen.classes.shape):
    best = np.argsort(-diagonals[b, h], kind="stable")[:2]
    kept = (
      c == columns[b, h].argmax() or abs(a - c) in best or forced[0, 0, a, c]
    )
    expected = base.classes[b, 0, a, c] if kept else EMPTY
    assert chosen.classes[b, h, a, c] == expected


def test_errors_name_what_came():
  base = padded_base()[1]
  scores = np.zeros((2, HEADS, 6, 6), np.float32)
  with pytest.raises(ValueError, match="at least 0, got -1"):
    top_blocks(scores, -1, base)
  with pytest.raises(ValueError, match=r"in \(0, 1\], got 1.5"):
    top_mass(scores, 1.5, base)
  uneven = from_pattern(Dense(), sequence(LENGTH), block_query=4, block_key=8)
  x = np.zeros((2, LENGTH, HEADS, DIM), np.float32)
  with pytest.raises(ValueError, match="equal blocks .* got 4 and 8"):
    estimate(x, x, uneven)
