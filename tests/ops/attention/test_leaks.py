"""What one clip of a packed row holds changes nothing for another: by bits."""

import dataclasses

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implementations import Case, draw, every, run

from trajvit.ops.attention import from_pattern
from trajvit.ops.attention.pattern import Dense
from trajvit.ops.attention.patterns import AShape


def packed(rng, implementation, **options) -> Case:
  """Three clips a row in runs, padding between and among them; every tile in
  which two tokens of a clip may meet is listed."""
  block = implementation.block
  length = 3 * block + 1
  coordinates = definition.draw_coordinates(rng, 2, length, segments=3)
  mask = from_pattern(
    Dense() | AShape(0, 0), coordinates, block_query=block, block_key=block
  )
  case = draw(rng, block, keys=length, **options)
  return case.replace(mask=mask)


def changed(case: Case, where, change) -> Case:
  """Returns the case with `change(array)` in the tokens `where` [B, N]."""

  def at(x):
    here = jnp.asarray(where).reshape(*where.shape, *(1,) * (x.ndim - 2))
    return jnp.where(here, change(x), x).astype(x.dtype)

  arrays = {
    field.name: at(getattr(case, field.name))
    for field in dataclasses.fields(case)
    if field.name != "mask"
  }
  return case.replace(**arrays)


def assert_same(implementation, case: Case, other: Case, where) -> None:
  """Asserts equal bits of values and gradients in the tokens `where` [B, N]."""
  first, second = (
    jax.tree.leaves(run(implementation, case)) for case in (case, other)
  )
  assert len(first) == 6
  for a, b in zip(first, second, strict=True):
    np.testing.assert_array_equal(np.asarray(a)[where], np.asarray(b)[where])


@every
@pytest.mark.parametrize(
  "change",
  [lambda x: x + 1, lambda x: -1e4 * jnp.ones_like(x)],
  ids=["a little", "much"],
)
def test_a_clip_changes_no_other_clip(rng, implementation, change):
  case = packed(rng, implementation)
  segment = np.asarray(case.mask.query.segment)[:, : case.query.shape[1]]
  other = changed(case, segment == 1, change)
  assert_same(implementation, case, other, segment != 1)
  first, second = (run(implementation, case).out for case in (case, other))
  assert not np.array_equal(first, second)


@every
@pytest.mark.parametrize("fill", [0, 1e4, np.nan])
def test_padding_changes_nothing(rng, implementation, fill):
  case = packed(rng, implementation)
  segment = np.asarray(case.mask.query.segment)[:, : case.query.shape[1]]
  other = changed(case, segment < 0, lambda x: jnp.full_like(x, fill))
  assert_same(implementation, case, other, segment >= -1)
  got = run(implementation, other)
  for padding in (got.out, *got.gradients):
    assert not np.any(np.asarray(padding)[segment < 0])


@every
def test_a_clip_changes_no_other_clip_in_bfloat16(rng, implementation):
  if implementation.slow:
    pytest.skip("its arithmetic with masked pairs is that of float32")
  case = packed(rng, implementation, dtype="bfloat16")
  segment = np.asarray(case.mask.query.segment)[:, : case.query.shape[1]]
  other = changed(case, segment == 1, lambda x: 3 - x)
  assert_same(implementation, case, other, segment != 1)
