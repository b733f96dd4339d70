"""Registers in an order, against tables by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import Coordinates, from_pattern
from trajvit.ops.attention.pattern import EMPTY, FULL, Bounds
from trajvit.ops.attention.patterns import NestedRegisters, build_pattern

# One step of two patches and three registers.
ONE = """
11000
11000
11100
11110
11111
"""
# Three steps of two patches and two registers each: what the second step reads
# of the first, patches (above) and registers (below) reading p p r r.
READS = {
  ("all", "none", "all", "causal"): ("1100", "1100", "1110", "1111"),
  ("all", "all", "all", "all"): ("1111", "1111", "1111", "1111"),
  ("all", "none", "none", "none"): ("1100", "1100", "0000", "0000"),
  ("none", "all", "all", "none"): ("0011", "0011", "1100", "1100"),
}
OWN = ("1100", "1100", "1110", "1111")


def bits(rows):
  return np.array([[int(c) for c in row] for row in rows], bool)


def steps(count, patches, registers):
  """[1, N] coordinates, the patches of a step and then its registers."""
  t, place = np.divmod(
    np.arange(count * (patches + registers)), patches + registers
  )
  register = place >= patches
  index = np.where(register, place - patches, place)
  zeros = np.zeros_like(t)
  columns = zeros, t, zeros, zeros, register, index
  return Coordinates(*(x[None].astype(np.int32) for x in columns))


def dense(pattern, coordinates, block=4):
  mask = from_pattern(pattern, coordinates, block_query=block, block_key=block)
  return np.asarray(mask.dense())[0, 0]


def test_one_step():
  expected = bits(ONE.split())
  np.testing.assert_array_equal(
    dense(NestedRegisters(), steps(1, 2, 3)), expected
  )


@pytest.mark.parametrize("reads", READS)
def test_three_steps(reads):
  expected = np.zeros((3, 4, 3, 4), bool)
  for q in range(3):
    expected[q, :, q] = bits(OWN)
    for k in range(q):
      expected[q, :, k] = bits(READS[reads])
  pattern = NestedRegisters(*reads)
  np.testing.assert_array_equal(
    dense(pattern, steps(3, 2, 2)), expected.reshape(12, 12)
  )


def test_blocks_of_patches_are_not_looked_into():
  """Registers fill whole tiles with patches, and never the other way round."""
  coordinates = steps(1, 4, 4)
  classes = NestedRegisters().classes(*(bounds(coordinates, x) for x in "qk"))
  assert classes.tolist()[0] == [FULL, EMPTY] and classes[1, 0] == FULL


def bounds(coordinates, side):
  """Ranges in blocks of four, a column for queries and a row for keys."""
  blocks = jax.tree.map(lambda x: x.reshape(2, 4), coordinates)
  shape = (2, 1) if side == "q" else (1, 2)
  return Bounds(
    *(
      jax.tree.map(lambda x, f=f: f(x, 1).reshape(shape), blocks)
      for f in (jnp.min, jnp.max)
    )
  )


def test_what_is_read_is_checked():
  with pytest.raises(ValueError, match="patch_reads_patches must be one"):
    build_pattern({"name": "nested_registers", "patch_reads_patches": "causal"})
