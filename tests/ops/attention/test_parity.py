"""Every implementation against the definition: values and all gradients."""

import dataclasses
import functools
import operator

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pattern_loops
import pytest
from definition import TOLERANCES
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import (
  ALL,
  Case,
  Implementation,
  check,
  draw,
  every,
  run,
  with_statistics,
)

from trajvit.ops.attention import Coordinates, from_pattern
from trajvit.ops.attention.pattern import EMPTY, Pattern

XLA = Implementation("xla", 8)
# One of each kind; all are compared with loops in test_patterns.py.
PATTERNS = list({type(p): p for p in pattern_loops.PATTERNS}.values())


def thin(cases, part):
  """(implementation, case) pairs; what an interpreter runs outside of `part` is
  marked slow."""
  return [
    pytest.param(
      *parameter.values,
      case,
      id=f"{parameter.id}-{case}",
      marks=[
        *parameter.marks,
        *[pytest.mark.slow] * (parameter.values[0].slow and case not in part),
      ],
    )
    for parameter in ALL
    for case in cases
  ]


# Queries and keys, in blocks and tokens more or less, and the width of a head.
SHAPES = {
  "1 query": ((0, 1), (1, 1), 64),
  "7 tokens": ((0, 7), (0, 7), 32),
  "a token less": ((1, -1), (3, 1), 128),
  "a block": ((1, 0), (1, 0), 256),
  "1 key": ((1, 1), (0, 1), 64),
  "3 blocks and 1": ((3, 1), (1, -1), 72),
}


@pytest.mark.parametrize(
  "implementation, shape", thin(SHAPES, ["1 query", "3 blocks and 1"])
)
def test_lengths_and_head_dims(rng, implementation, shape):
  *lengths, dim = SHAPES[shape]
  queries, keys = (
    blocks * implementation.block + more for blocks, more in lengths
  )
  case = draw(
    rng,
    implementation.block,
    queries=queries,
    keys=keys,
    dim=dim,
    batch=1,
    density=0.9,
  )
  check(implementation, case)


# Bm, Hm, and the leading axis of the coordinates, for 2 clips and 4 heads.
LISTS = [(1, 1, 1), (1, 4, 2), (2, 1, 2), (2, 2, 2)]


@pytest.mark.parametrize("implementation, lists", thin(LISTS, [(2, 2, 2)]))
def test_lists_a_clip_a_head_or_shared(rng, implementation, lists):
  case = draw(
    rng,
    implementation.block,
    heads=4,
    lists=lists[:2],
    coordinates_batch=lists[2],
  )
  check(implementation, case)


@every
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_sharp_and_flat_logits(rng, implementation, dtype):
  case = draw(rng, implementation.block, dtype=dtype)
  check(implementation, case)
  check(implementation, case.replace(query=case.query / 8))
  # The gradient of a sharp softmax is a difference of nearly equal numbers, one
  # of them made from an output that was rounded to bfloat16.
  widen = 2 if dtype == "bfloat16" else 1
  check(implementation, case.replace(query=8 * case.query), widen)


@every
def test_each_cotangent_alone_and_many_masks(rng, implementation):
  block = implementation.block
  for segments in (1, 2, 5):
    case = draw(rng, block, segments=segments)
    nothing = jnp.zeros_like(case.logsumexp_grad)
    check(implementation, case)
    check(implementation, case.replace(logsumexp_grad=nothing))
    nothing = jnp.zeros_like(case.out_grad)
    check(implementation, case.replace(out_grad=nothing))


@every
def test_without_bias(rng, implementation):
  case = draw(rng, implementation.block).replace(bias=None)
  check(implementation, case)
  assert run(implementation, case).gradients[3] is None


@dataclasses.dataclass(frozen=True)
class Several(Pattern):
  """Segment i follows pattern i: many patterns in one compiled program."""

  patterns: tuple[Pattern, ...]

  def allowed(self, query, key):
    """See Pattern."""
    return functools.reduce(
      operator.or_,
      (
        (query.segment == number) & pattern.allowed(query, key)
        for number, pattern in enumerate(self.patterns)
      ),
    )

  def classes(self, query, key):
    """See Pattern; all tokens of a row are of one segment here."""
    return sum(
      (query.low.segment == number) * pattern.classes(query, key)
      for number, pattern in enumerate(self.patterns)
    )


@every
def test_patterns(rng, implementation):
  block = implementation.block
  length = 3 * block + 1
  batch = len(PATTERNS)
  place = np.resize(np.arange(5 * 6 * 7 + 2) - 2, length)  # 2 registers first
  register = (place < 0).astype(int)
  place = np.maximum(place, 0)
  padding = np.arange(length) % 11 == 10
  segment = np.where(padding, -1, np.arange(batch)[:, None])
  fields = segment, place // 42, place // 7 % 6, place % 7, register, place
  coordinates = Coordinates(
    *(jnp.asarray(np.broadcast_to(x, segment.shape)) for x in fields)
  )
  mask = from_pattern(
    Several(tuple(PATTERNS)),
    coordinates,
    block_query=block,
    block_key=block,
  )
  case = draw(
    rng, block, keys=length, batch=batch, heads=1, coordinates_batch=1
  )
  check(implementation, case.replace(mask=mask))


@every
def test_queries_without_keys_and_keys_without_queries(rng, implementation):
  block = implementation.block
  case = leave_out(draw(rng, block, density=0.9), row=0, column=1)
  check(implementation, case)
  got = run(implementation, case)
  assert not np.any(got.out[:, :block])
  assert np.isneginf(got.logsumexp[:, :block]).all()
  assert not np.any(got.gradients[0][:, :block])
  for gradient in got.gradients[1:]:
    assert not np.any(gradient[:, block : 2 * block])


@every
def test_what_unlisted_tiles_hold_is_not_read(rng, implementation):
  if implementation.name == "reference":
    pytest.skip("it reads all tokens that are not padding")
  block = implementation.block
  case = leave_out(draw(rng, block, density=0.9), row=0, column=1)
  here = slice(block, 2 * block)
  dirty = case.replace(
    key=case.key.at[:, here].set(np.nan),
    value=case.value.at[:, here].set(np.nan),
    bias=case.bias.at[:, here].set(np.nan),
  )
  clean, got = (
    jax.tree.leaves(run(implementation, case)) for case in (case, dirty)
  )
  for a, b in zip(clean, got, strict=True):
    np.testing.assert_array_equal(a, b)


@every
def test_lists_cut_to_a_capacity(rng, implementation):
  if implementation.slow:
    pytest.skip("only the width of the lists differs: see the others")
  block = implementation.block
  case = draw(rng, block, keys=7 * block, density=0.9, capacity=3)
  assert case.mask.dropped > 0
  assert case.mask.key_lists.index.shape[-1] == 3
  check(implementation, case)


@with_statistics
def test_statistics_of_tiles(rng, implementation):
  case = draw(rng, implementation.block, keys=5 * implementation.block)
  case = case.replace(query=6 * case.query)
  check(implementation, case, tile_max=True)


@with_statistics
def test_skipped_tiles_are_left_out_of_values_and_gradients(
  rng, implementation
):
  block = implementation.block
  case = draw(rng, block, keys=5 * block, heads=4, lists=(1, 2), density=0.9)
  bias = (
    case.bias - jnp.arange(5 * block) // block % 2 * 20
  )  # every other block
  case = case.replace(bias=bias)
  check(implementation, case, tile_max=True, skip_below=0.01)
  got = run(implementation, case, tile_max=True, skip_below=0.01)
  listed = np.repeat(np.asarray(case.mask.classes) != EMPTY, 2, axis=1)
  skipped = listed & ~np.asarray(got.kept)
  assert skipped.any()
  assert not np.asarray(got.tile_max)[skipped].any()


def test_gradients_of_the_definition_by_finite_differences(rng):
  case = draw(rng, 8)
  arrays = [np.asarray(x, np.float64) for x in case_arrays(case)]
  allowed = case.allowed()
  out_grad = np.asarray(case.out_grad, np.float64)
  _, logsumexp = definition.attention(*arrays[:3], allowed, bias=arrays[3])
  logsumexp_grad = np.where(np.isfinite(logsumexp), case.logsumexp_grad, 0)

  def loss(query, key, value, bias):
    out, logsumexp = definition.attention(query, key, value, allowed, bias=bias)
    logsumexp = np.where(np.isfinite(logsumexp), logsumexp, 0)
    return (out * out_grad).sum() + (logsumexp * logsumexp_grad).sum()

  gradients = definition.gradients(
    *arrays[:3], allowed, out_grad, logsumexp_grad, arrays[3]
  )
  for number, gradient in enumerate(gradients):
    slope = central_difference(rng, loss, arrays, number, step=1e-5)
    assert slope(gradient) < 1e-8


def test_gradients_of_xla_by_finite_differences(rng):
  case = draw(rng, 8)
  names = "query", "key", "value", "bias"

  def loss(*arrays):
    moved = case.replace(**dict(zip(names, arrays, strict=True)))
    got = run(XLA, moved)
    logsumexp = np.where(np.isfinite(got.logsumexp), got.logsumexp, 0)
    out = np.asarray(got.out, np.float64)
    return (out * case.out_grad).sum() + (
      logsumexp.astype(np.float64) * case.logsumexp_grad
    ).sum()

  for number, gradient in enumerate(run(XLA, case).gradients):
    slope = central_difference(rng, loss, case_arrays(case), number, step=1e-2)
    assert slope(gradient) < 3e-3


# Blocks and lengths of queries and keys, those that xla is not tested with yet.
UNEVEN = [((8, 16), (40, 70)), ((16, 8), (33, 17)), ((12, 5), (1, 50))]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
  seed=st.integers(0, 2**31 - 1),
  uneven=st.sampled_from(UNEVEN),
  segments=st.integers(0, 5),
  density=st.floats(0, 1),
)
def test_uneven_blocks(seed, uneven, segments, density):
  (block_query, block_key), (queries, keys) = uneven
  rng = np.random.default_rng(seed)
  case = draw(rng, 8, queries=queries, keys=keys, batch=1)
  mask = definition.draw_mask(
    rng,
    queries=queries,
    keys=keys,
    block_query=block_query,
    block_key=block_key,
    heads=2,
    segments=segments,
    density=density,
  )
  check(XLA, case.replace(mask=mask))


def leave_out(case: Case, row: int, column: int) -> Case:
  """Returns the case without the tiles of a query block and a key block."""
  classes = case.mask.classes.at[:, :, row].set(EMPTY)
  classes = classes.at[..., column].set(EMPTY)
  return case.replace(mask=case.mask.with_classes(classes))


def case_arrays(case: Case):
  return case.query, case.key, case.value, case.bias


def central_difference(rng, loss, arrays, number, step):
  """Returns a function: how far a gradient of arrays[number] is from the slope
  of `loss` in a random direction, relative to the slope."""
  direction = rng.normal(size=arrays[number].shape)

  def at(offset):
    moved = list(arrays)
    moved[number] = arrays[number] + offset * direction
    return float(loss(*moved))

  slope = (at(step) - at(-step)) / (2 * step)
  return lambda gradient: abs((gradient * direction).sum() / slope - 1)
