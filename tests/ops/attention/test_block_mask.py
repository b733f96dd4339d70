"""BlockMask: its lists, its transpose, its algebra, and its life under jit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pattern_loops
import pytest

from trajvit.ops.attention import from_classes, from_pattern, sequence
from trajvit.ops.attention.block_mask import equality
from trajvit.ops.attention.grids.static import static_mask
from trajvit.ops.attention.pattern import (
  EMPTY,
  FULL,
  PARTIAL,
  Dense,
  both,
  either,
)
from trajvit.ops.attention.patterns import Registers, Window


def listed(lists, row):
  """The spec of a row: [full, count, block, ...] of batch and head 0."""
  full, count = int(lists.full[0, 0, row]), int(lists.count[0, 0, row])
  return [full, count, *np.asarray(lists.index)[0, 0, row, :count].tolist()]


def random_mask(rng, shape=(2, 3, 5, 4), capacity=None):
  classes = rng.integers(0, 3, shape).astype(np.int8)
  query, key = sequence(shape[2] * 4), sequence(shape[3] * 8)
  blocks = dict(block_query=4, block_key=8)
  pattern = Window(t=0)
  mask = from_classes(
    classes, query, key, pattern=pattern, capacity=capacity, **blocks
  )
  return classes, mask


def test_the_example_that_is_checked_by_hand():
  """Two frames of 4 x 4 and one register, in blocks of 8, frame by frame."""
  layout, mask = static_mask(
    Window(t=0), (2, 4, 4), registers=1, block_query=8, block_key=8
  )
  assert layout.real.sum() == 33
  assert listed(mask.key_lists, 0) == [0, 5, 0, 1, 2, 3, 4]
  for row in (1, 2):
    assert listed(mask.key_lists, row) == [2, 3, 1, 2, 0]
  for row in (3, 4):
    assert listed(mask.key_lists, row) == [2, 3, 3, 4, 0]
  assert listed(mask.query_lists, 0) == [0, 5, 0, 1, 2, 3, 4]
  assert listed(mask.query_lists, 1) == [2, 3, 1, 2, 0]
  assert np.asarray(mask.dense()).sum() == 577
  assert (mask.classes != EMPTY).mean() == 0.68


def test_lists_hold_full_tiles_then_partial_ones(rng):
  classes, mask = random_mask(rng)
  lists = mask.key_lists
  for b, h, i in np.ndindex(2, 3, 5):
    full = np.flatnonzero(classes[b, h, i] == FULL)
    partial = np.flatnonzero(classes[b, h, i] == PARTIAL)
    expected = [*full, *partial]
    assert lists.full[b, h, i] == len(full)
    assert lists.count[b, h, i] == len(expected)
    index = np.asarray(lists.index[b, h, i])
    np.testing.assert_array_equal(index[: len(expected)], expected)
    assert np.all((index >= 0) & (index < 4))


def test_query_lists_are_those_of_the_transpose(rng):
  classes, mask = random_mask(rng)
  swapped = np.swapaxes(classes, 2, 3)
  other = from_classes(
    swapped,
    mask.key,
    mask.query,
    pattern=mask.pattern,
    block_query=8,
    block_key=4,
  )
  for a, b in zip(
    jax.tree.leaves(mask.query_lists),
    jax.tree.leaves(other.key_lists),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(mask.dense(), np.swapaxes(other.dense(), 2, 3))


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_what_a_list_cannot_hold_is_dropped_and_counted(rng, capacity):
  classes, mask = random_mask(rng, capacity=capacity)
  assert mask.key_lists.index.shape[-1] == capacity
  kept = np.zeros_like(classes)
  for place in np.ndindex(2, 3, 5):
    rank = {FULL: 0, PARTIAL: 1, EMPTY: 2}
    order = sorted(range(4), key=lambda j, p=place: (rank[classes[p][j]], j))
    first = order[:capacity]
    kept[place][first] = classes[place][first]
  np.testing.assert_array_equal(mask.classes, kept)
  dropped = (classes != EMPTY).sum() - (kept != EMPTY).sum()
  assert mask.dropped == dropped > 0
  np.testing.assert_array_equal(mask.query_lists.count, (kept != EMPTY).sum(2))


def test_a_capacity_that_is_enough_drops_nothing(rng):
  classes, mask = random_mask(rng, capacity=9)
  np.testing.assert_array_equal(mask.classes, classes)
  assert mask.dropped == 0


def test_keep_takes_tiles_out_of_all_lists(rng):
  classes, mask = random_mask(rng)
  kept = rng.random(classes.shape) < 0.5
  expected = from_classes(
    np.where(kept, classes, EMPTY),
    mask.query,
    mask.key,
    pattern=mask.pattern,
    block_query=4,
    block_key=8,
  )
  got = jax.jit(lambda mask, kept: mask.keep(kept))(mask, kept)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b)


def test_keep_by_head_splits_lists_that_heads_share(rng):
  classes, mask = random_mask(rng, shape=(1, 2, 5, 4))
  kept = rng.random((1, 6, 5, 4)) < 0.5
  got = mask.keep(kept)
  shared = np.repeat(classes, 3, axis=1)
  np.testing.assert_array_equal(got.classes, np.where(kept, shared, EMPTY))


TRUTH = {  # what is known of a pair in a tile: may it be false, may it be true
  EMPTY: {False},
  FULL: {True},
  PARTIAL: {False, True},
}


@pytest.mark.parametrize("first", TRUTH)
@pytest.mark.parametrize("second", TRUTH)
def test_algebra_of_classes_is_that_of_truth_values(first, second):
  def known(values):
    return next(c for c, truth in TRUTH.items() if truth == values)

  pairs = [(a, b) for a in TRUTH[first] for b in TRUTH[second]]
  assert both(first, second) == known({a and b for a, b in pairs})
  assert either(first, second) == known({a or b for a, b in pairs})


def test_equality_of_ranges():
  ranges = [(0, 0), (1, 1), (0, 1), (2, 5), (5, 9)]
  for q in ranges:
    for k in ranges:
      pairs = [
        a == b for a in range(q[0], q[1] + 1) for b in range(k[0], k[1] + 1)
      ]
      expected = PARTIAL if any(pairs) else EMPTY
      expected = FULL if all(pairs) else expected
      q_arrays, k_arrays = (tuple(map(jnp.asarray, x)) for x in (q, k))
      assert equality(q_arrays, k_arrays) == expected


def test_a_block_mask_is_a_pytree_that_jit_does_not_retrace():
  traces = []
  pattern = Window(t=1, y=1) | Registers()

  @jax.jit
  def build(coordinates):
    traces.append("build")
    return from_pattern(pattern, coordinates, block_query=8, block_key=16)

  @jax.jit
  def count(mask):
    traces.append("count")
    return mask.dense().sum()

  tokens = pattern_loops.packed_rows()
  for shift in (0, 1):
    moved = np.roll(tokens, shift, axis=1)
    mask = build(pattern_loops.coordinates(moved))
    expected = pattern_loops.allowed_in_packed_rows(pattern).sum()
    assert count(mask) == expected
  assert traces == ["build", "count"]
  leaves, treedef = jax.tree.flatten(mask)
  again = jax.tree.unflatten(treedef, leaves)
  assert again.pattern == pattern
  assert (again.block_query, again.query_length) == (8, 215)
  assert all(isinstance(leaf, jax.Array) for leaf in leaves)
  static = {f.name for f in dataclasses.fields(mask) if f.metadata}
  assert static == {
    "pattern",
    "block_query",
    "block_key",
    "query_length",
    "key_length",
  }


def test_memory_does_not_grow_with_pairs_of_tokens():
  """16k tokens have 268 million pairs; building the mask holds none of them."""
  tokens = sequence(1 << 14)
  build = jax.jit(lambda tokens: from_pattern(Dense(), tokens))
  program = build.lower(tokens).compile().memory_analysis()
  total = program.temp_size_in_bytes + program.output_size_in_bytes
  assert total < 16 << 20


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (1, 3, 2), (1, 1, 3, 1)])
def test_classes_of_another_shape_are_an_error(shape):
  tokens = sequence(9)
  with pytest.raises(
    ValueError, match=r"\[Bm, Hm, 3, 2\] for lengths \(9, 9\)"
  ):
    from_classes(
      np.ones(shape, np.int8),
      tokens,
      tokens,
      pattern=Dense(),
      block_query=4,
      block_key=8,
    )
