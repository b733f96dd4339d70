"""How a program walks over the tiles of a BlockMask, and makes their logits."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from trajvit.ops.attention.block_mask import BlockMask, TileLists

# Stands for -inf: exp2 of it is exactly 0, and the difference of two of them is
# not NaN.
FLOOR = -1e30
# Logits are in base 2, for which GPUs have an instruction.
LOG2_E = math.log2(math.e)


@dataclasses.dataclass(frozen=True)
class Walk:
  """One kernel's way over the tiles of a BlockMask.

  Attributes:
    lists: for each block of the side that is owned, blocks of the other.
    block: tokens in a block of the side that is owned.
    own: how many of them one program owns; divides `block`.
    other_block: tokens in a block of the side that is walked.
    step: how many of them are read at a time; divides `other_block`.
    warps: of 32 threads, in a program.
    scale: of the logits.
    allowed: `BlockMask.allowed`.
    interpret: whether to run in the interpreter.
  """

  lists: TileLists
  block: int
  own: int
  other_block: int
  step: int
  warps: int
  scale: float
  allowed: Callable
  interpret: bool

  @classmethod
  def over_keys(cls, query, blocks: BlockMask, options, step: int) -> "Walk":
    """Returns the walk of queries over keys, at most `step` at a time."""
    sizes = blocks.block_query, blocks.block_key
    return cls._of(blocks.key_lists, sizes, 1, query, blocks, options, step)

  @classmethod
  def over_queries(cls, query, blocks, options, step) -> "Walk":
    """Returns the walk of keys over queries, at most `step` at a time."""
    sizes = blocks.block_key, blocks.block_query
    return cls._of(blocks.query_lists, sizes, 2, query, blocks, options, step)

  @classmethod
  def _of(cls, lists, sizes, sums, query, blocks, options, step):
    # A tile and `sums` sums of the size of the own tokens stay in registers.
    # With these numbers programs compiled for compute capability 9.0 spill
    # none of them, or a few bytes with heads of 256 channels or in float32.
    size = query.shape[-1] * query.dtype.itemsize
    own = 128 if size <= 256 else 64 if size <= 512 else 32
    return cls(
      lists,
      block=sizes[0],
      own=min(sizes[0], own),
      other_block=sizes[1],
      step=min(sizes[1], step if size <= 256 else 32),
      warps=8 if size * sums > 128 else 4,
      scale=options.scale,
      allowed=blocks.allowed,
      interpret=options.interpret,
    )

  def call(self, kernel, own, other, outs, *, products) -> tuple:
    """Returns what `kernel(lists, own, other, *outs, walk)` writes.

    There is one program for each `self.own` tokens, head and clip.

    Args:
      kernel: sees references, to its own row of the lists among others.
      own: pytree of arrays, of which a program sees its own tokens.
      other: pytree of arrays, of which it sees all tokens.
      outs: types of the outputs; a program writes its own tokens.
      products: how many matrix products it does in a tile.
    """
    batch, heads, length, dim = own[0].shape
    parts = self.block // self.own
    row = functools.partial(_spec, heads=heads, tokens=1, parts=parts)
    mine = functools.partial(_spec, heads=heads, tokens=self.own)
    whole = functools.partial(_spec, heads=heads)
    # How long the lists are is known when the program runs: say, half full.
    listed = -(-self.lists.index.shape[-1] // 2) * self.other_block
    pairs = batch * heads * length * listed
    return pl.pallas_call(
      functools.partial(kernel, walk=self),
      grid=(length // self.own, heads, batch),
      in_specs=(
        jax.tree.map(row, self.lists),
        jax.tree.map(mine, own),
        jax.tree.map(whole, other),
      ),
      out_specs=tuple(map(mine, outs)),
      out_shape=outs,
      compiler_params=triton.CompilerParams(num_warps=self.warps, num_stages=2),
      cost_estimate=pl.CostEstimate(
        flops=2 * products * pairs * dim,
        transcendentals=pairs,
        bytes_accessed=sum(x.nbytes for x in jax.tree.leaves((own, other))),
      ),
      interpret=self.interpret,
      name=f"attention_{kernel.__name__}",
    )(self.lists, own, other)

  def fold(self, lists: TileLists, tile: Callable, carry):
    """Returns what `carry = tile(carry, where, partial)` makes of all tiles.

    Args:
      lists: references to the program's row.
      tile: `where` slices `step` tokens of the other side; with `partial`,
        a Python bool, not all pairs may meet.
      carry: pytree of arrays.
    """
    parts = self.other_block // self.step

    def run(carry, first, last, partial):
      def body(i, carry):
        block = lists.index[0, jax.lax.div(i, parts)]
        begin = block * self.other_block + jax.lax.rem(i, parts) * self.step
        return tile(carry, pl.ds(begin, self.step), partial)

      return jax.lax.fori_loop(first * parts, last * parts, body, carry)

    full, count = lists.full[0], lists.count[0]
    return run(run(carry, 0, full, False), full, count, True)

  def logits(self, rows, columns, bias, places=None):
    """Returns [m, n] float32 of rows [m, d] and columns [n, d], in base 2.

    Args:
      rows: queries or keys.
      columns: keys or queries.
      bias: [m, 1] or [1, n], or None.
      places: (query, key) Coordinates where not all pairs may meet.
    """
    logits = across(rows, columns) * (self.scale * LOG2_E)
    if bias is not None:
      logits += bias * LOG2_E
    if places is None:
      return logits
    return jnp.where(self.allowed(*places), logits, FLOOR)


def across(a, b):
  """Returns [m, n] float32 of [m, d] and [n, d]."""
  return jax.lax.dot_general(
    a, b, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
  )


def through(a, b):
  """Returns [m, d] float32 of [m, n] and [n, d]."""
  return jax.lax.dot_general(
    a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32
  )


def _spec(x, heads, tokens=None, parts=1):
  """What a program sees of x, [B or 1, N] or [B or 1, Hm, N, ...]: all N, or
  `tokens` of them, the same ones for `parts` programs in a row."""
  axis = min(x.ndim - 1, 2)
  group = heads // x.shape[1]  # heads that share; unused without that axis

  def place(i, head, clip):
    clip = clip if x.shape[0] > 1 else 0
    row = 0 if tokens is None else i // parts
    return ((clip, head // group)[:axis] + (row, 0))[: x.ndim]

  size = x.shape[axis] if tokens is None else tokens
  return pl.BlockSpec((None,) * axis + (size,) + x.shape[axis + 1 :], place)
