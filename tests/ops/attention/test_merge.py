"""Passes over disjoint keys, merged, equal one pass over all of them."""

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import (
  Attended,
  attend,
  from_classes,
  sequence,
)
from trajvit.ops.attention.merge import merge
from trajvit.ops.attention.pattern import EMPTY, PARTIAL, Dense
from trajvit.ops.attention.union import union_attention

TOLERANCE = definition.TOLERANCES["float32"]
BLOCK = 4


def mask_of(classes):
  """A BlockMask of 24 tokens, the last padding, from [nq, nk] classes."""
  places = sequence(24, np.arange(24)[None] < 23)
  return from_classes(
    jnp.asarray(classes)[None, None],
    places,
    places,
    pattern=Dense(),
    block_query=BLOCK,
    block_key=BLOCK,
  )


def case(rng):
  """Inputs, and three disjoint masks; one query block is in none of them."""
  query, key, value, out_grad = rng.normal(size=(4, 2, 24, 3, 8)).astype("f")
  bias = rng.normal(size=(2, 24)).astype("f")
  owner = rng.integers(0, 4, (6, 6))  # 3: in no mask
  owner[2] = 3
  owner[3] = 1
  masks = [mask_of(np.where(owner == i, PARTIAL, EMPTY)) for i in range(3)]
  return query, key, value, bias, out_grad, masks


@pytest.mark.parametrize(
  "implementation", [pytest.param("reference", marks=pytest.mark.slow), "xla"]
)
def test_merged_passes_equal_their_union(rng, implementation):
  query, key, value, bias, out_grad, masks = case(rng)
  logsumexp_grad = rng.normal(size=(2, 24, 3)).astype("f")

  def run(query, key, value, bias):
    parts = [
      attend(
        query,
        key,
        value,
        mask=mask,
        bias=bias,
        implementation=implementation,
      )
      for mask in masks
    ]
    merged = merge(*parts)
    return merged.out, merged.logsumexp

  (out, logsumexp), pull = jax.vjp(run, query, key, value, bias)
  allowed = sum(definition.dense(mask, 2, 3).astype(int) for mask in masks)
  assert allowed.max() == 1  # disjoint
  expected = definition.attention(query, key, value, allowed > 0, bias)
  empty = ~np.asarray(allowed).any(-1).swapaxes(1, 2)
  assert empty[:, 8:12].all()
  assert not np.asarray(out)[empty].any()
  assert definition.relative_error(out, expected[0]) < TOLERANCE.out
  assert (
    definition.logsumexp_error(logsumexp, expected[1]) < TOLERANCE.logsumexp
  )

  grads = pull((out_grad, logsumexp_grad))
  expected = definition.gradients(
    query, key, value, allowed > 0, out_grad, logsumexp_grad, bias
  )
  for got, want in zip(grads, expected, strict=True):
    assert definition.relative_error(got, want) < TOLERANCE.gradient
  assert not np.asarray(grads[0])[:, 8:12].any()


def test_merging_is_associative_and_a_lone_part_is_itself(rng):
  out = rng.normal(size=(3, 5, 4)).astype("f")
  logsumexp = rng.normal(size=(3, 5)).astype("f")
  logsumexp[1, 2] = -np.inf
  out[1, 2] = 0
  a, b, c = (Attended(o, x) for o, x in zip(out, logsumexp, strict=True))
  jax.tree.map(np.testing.assert_array_equal, merge(b), b)
  once, twice = merge(a, b, c), merge(merge(a, b), c)
  np.testing.assert_allclose(once.out, twice.out, atol=1e-6)
  np.testing.assert_allclose(once.logsumexp, twice.logsumexp, atol=1e-6)


def test_a_part_in_half_precision_is_merged_in_single(rng):
  out = rng.normal(size=(5, 4)).astype("f")
  half = Attended(jnp.asarray(out, jnp.bfloat16), jnp.zeros(5))
  single = Attended(jnp.asarray(out), jnp.zeros(5))
  assert merge(half, half).out.dtype == jnp.bfloat16
  assert merge(half, single).out.dtype == jnp.float32


def test_union_of_two_orders_equals_one_mask(rng):
  query, key, value, bias, out_grad, _ = case(rng)
  t, place = np.divmod(np.arange(24), 4)
  same_frame = t[:, None] == t
  same_place = (place[:, None] == place) & ~same_frame
  order = np.argsort(place, kind="stable")  # time-major

  def in_blocks(allowed, block):
    blocks = allowed.reshape(24 // block, block, 24 // block, block)
    return jnp.asarray(np.where(blocks.any((1, 3)), PARTIAL, EMPTY))

  # The tiles alone decide: a frame is one of 4, and tiles of one token leave
  # out the diagonal along time.
  places = sequence(24)
  masks = [
    from_classes(
      in_blocks(allowed, block)[None, None],
      places,
      places,
      pattern=Dense(),
      block_query=block,
      block_key=block,
    )
    for allowed, block in (
      (same_frame, 4),
      (same_place[order][:, order], 1),
    )
  ]

  def run(query, key, value, bias):
    return union_attention(
      query,
      key,
      value,
      masks=masks,
      orders=[None, order],
      bias=bias,
      implementation="reference",
    ).out

  out, pull = jax.vjp(run, query, key, value, bias)
  allowed = np.broadcast_to(same_frame | same_place, (2, 3, 24, 24))
  expected, _ = definition.attention(query, key, value, allowed, bias)
  assert definition.relative_error(out, expected) < TOLERANCE.out
  grads = definition.gradients(query, key, value, allowed, out_grad, bias=bias)
  for got, want in zip(pull(out_grad), grads, strict=True):
    assert definition.relative_error(got, want) < TOLERANCE.gradient


def test_parts_that_do_not_fit_are_refused():
  part = Attended(jnp.zeros((5, 4)), jnp.zeros(5))
  other = Attended(jnp.zeros((6, 4)), jnp.zeros(6))
  with pytest.raises(ValueError, match="of one shape"):
    merge(part, other)
  with pytest.raises(ValueError, match="of one shape"):
    merge()
