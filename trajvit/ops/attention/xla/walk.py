"""Walks lists of tiles in plain JAX, at the cost of the tiles listed.

A step of the walk takes TILES tiles of each of ROWS blocks, enough work for one
batched product, and the walk of these blocks ends with the longest of their
lists. Blocks are sorted by the length of their lists first, so that those
walked together are nearly equal: beside the rounding of each list to whole
steps, at most ROWS times the longest list is wasted in all. How wide the arrays
of the lists are does not matter.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import BlockMask, TileLists
from trajvit.ops.attention.coordinates import Coordinates

ROWS = 8
TILES = 4
# The logit of a pair that may not meet: finite, so that no difference of two
# is NaN, and so low that its exponential is exactly 0.
LOW = -1e30


@dataclasses.dataclass(frozen=True)
class Tiles:
  """The tiles of one step.

  Attributes:
    index: [R, TILES] int32, numbers of the blocks met.
    allowed: [R, own, TILES * other] bool, which pairs of tokens may meet; None
      where all may, all tiles being full.
  """

  index: jax.Array
  allowed: jax.Array | None

  def mask(self, logits: jax.Array) -> jax.Array:
    """Returns `logits`, of the shape of `allowed`, LOW where not allowed."""
    if self.allowed is None:
      return logits
    return jnp.where(self.allowed, logits, LOW)

  def split(self, pairs: jax.Array) -> jax.Array:
    """Returns [R, own, TILES, other] of [R, own, TILES * other]."""
    return pairs.reshape(*pairs.shape[:2], self.index.shape[1], -1)

  def drop(self, logits: jax.Array, kept: jax.Array) -> jax.Array:
    """Returns `logits`, LOW in the tiles that are not `kept` [R, TILES]."""
    tiles = jnp.where(kept[:, None, :, None], self.split(logits), LOW)
    return tiles.reshape(logits.shape)

  def spread(self, values: jax.Array, number: int) -> jax.Array:
    """Returns [R, number], each of `values` [R, TILES] at its block, else 0."""
    here = self.index[..., None] == jnp.arange(number)
    zero = jnp.zeros((), values.dtype)
    return jnp.where(here, values[..., None], zero).max(1)


@dataclasses.dataclass(frozen=True)
class Walk:
  """Blocks, and for each the list of the other blocks that it meets.

  Attributes:
    lists: of each own block.
    own: Coordinates [B or 1, n * block].
    other: Coordinates [B or 1, m * block].
    own_block: tokens in an own block.
    other_block: tokens in another one.
    allowed: `(own, other) -> bool` decides inside partial tiles.
    batch: B.
    heads: K.
  """

  lists: TileLists
  own: Coordinates
  other: Coordinates
  own_block: int
  other_block: int
  allowed: Callable
  batch: int
  heads: int

  def fold(self, own, other, start, step: Callable):
    """Returns what each block makes of its list.

    Args:
      own: pytree of [B, K or 1, n * block, ...], what a block brings along.
      other: pytree of [B, K or 1, m * block, ...], what it meets; a tile that
        only fills up a step arrives as zeros.
      start: pytree of [...], the carry before the first tile.
      step: `(carry, own, other, tiles) -> carry` for R blocks at once: carry
        [R, ...], own [R, block, ...], other [R, TILES * block, ...].

    Returns:
      Pytree of [B, K, n, ...], the carry after the last tile.
    """
    own = _blocks(own, self.own_block)
    other = _blocks(other, self.other_block)
    number = self.lists.count.shape[2]
    every = jnp.arange(self.batch * self.heads * number)
    count = self._lists(every // number, every % number).count
    order = jnp.argsort(-count)
    rows, missing = _rows(order.shape[0], self.heads * number)
    padded = jnp.pad(order, (0, missing), mode="edge")
    groups = padded.reshape(-1, rows)
    ends = jax.lax.map(
      lambda row: self._walk(
        row // number, row % number, own, other, start, step
      ),
      groups,
    )
    back = jnp.argsort(order)

    def unsort(x):
      x = x.reshape(-1, *x.shape[2:])[back]
      return x.reshape(self.batch, self.heads, number, *x.shape[1:])

    return jax.tree.map(unsort, ends)

  def _walk(self, head, block, own, other, start, step):
    """The fold of the blocks `block` [R] of `head` [R], counted over B * K."""
    lists = self._lists(head, block)
    # Nothing meets a block without a list, and what it holds may be NaN.
    some = jnp.repeat(lists.count[:, None] > 0, self.own_block, axis=1)
    mine = _clear(self._take(own, head, block), some)
    column = self._take(_places(self.own, self.own_block), head, block)
    column = jax.tree.map(lambda x: x[..., None], column)
    places = _places(self.other, self.other_block)

    def meet(tree, index):
      met = self._take(tree, head[:, None], index)  # [R, TILES, block, ...]
      return jax.tree.map(lambda x: x.reshape(head.size, -1, *x.shape[3:]), met)

    def full_step(turn, carry):
      index = _turn(lists.index, turn)
      return step(carry, mine, meet(other, index), Tiles(index, None))

    def any_step(turn, carry):
      index = _turn(lists.index, turn)
      slot = turn * TILES + jnp.repeat(jnp.arange(TILES), self.other_block)
      full = slot < lists.full[:, None]  # [R, TILES * block]
      listed = slot < lists.count[:, None]
      row = jax.tree.map(lambda x: x[:, None, :], meet(places, index))
      allowed = full[:, None] | (listed[:, None] & self.allowed(column, row))
      met = _clear(meet(other, index), listed)  # else it may be NaN too
      return step(carry, mine, met, Tiles(index, allowed))

    carry = _start(start, head.size, (own, other, lists))
    unmasked = lists.full.min() // TILES
    last = -(-lists.count.max() // TILES)
    carry = jax.lax.fori_loop(0, unmasked, full_step, carry)
    return jax.lax.fori_loop(unmasked, last, any_step, carry)

  def _lists(self, head, block) -> TileLists:
    """The lists of some blocks, the index filled up to whole steps."""
    batches, groups = self.lists.count.shape[:2]
    batch = (head // self.heads) % batches
    group = head % self.heads * groups // self.heads
    lists = jax.tree.map(lambda x: x[batch, group, block], self.lists)
    missing = -lists.index.shape[-1] % TILES
    index = jnp.pad(lists.index, ((0, 0), (0, missing)))
    return dataclasses.replace(lists, index=index)

  def _take(self, tree, head, block):
    """Blocks of arrays [B * K or B or 1, n, block, ...]."""

    def take(x):
      lead = head * x.shape[0] // (self.batch * self.heads)
      return x.at[lead, block].get(mode="promise_in_bounds")

    return jax.tree.map(take, tree)


def by_query(blocks: BlockMask, batch: int, heads: int) -> Walk:
  """Returns the walk of query blocks over their key blocks."""
  return Walk(
    lists=blocks.key_lists,
    own=blocks.query,
    other=blocks.key,
    own_block=blocks.block_query,
    other_block=blocks.block_key,
    allowed=blocks.allowed,
    batch=batch,
    heads=heads,
  )


def by_key(blocks: BlockMask, batch: int, heads: int) -> Walk:
  """Returns the walk of key blocks over their query blocks."""
  return Walk(
    lists=blocks.query_lists,
    own=blocks.key,
    other=blocks.query,
    own_block=blocks.block_key,
    other_block=blocks.block_query,
    allowed=lambda key, query: blocks.allowed(query, key),
    batch=batch,
    heads=heads,
  )


def _rows(blocks, of_clip: int) -> tuple[int, int]:
  """How many blocks are walked together, and how many fill the last group.

  The number of clips, and so of blocks, is unknown where a program is exported
  for all of them: groups then divide the blocks of a clip.
  """
  if isinstance(blocks, int):
    rows = min(ROWS, blocks)
    return rows, -blocks % rows
  return math.gcd(ROWS, of_clip), 0


def _blocks(tree, block):
  """Arrays [B, K or 1, n * block, ...] as [B * (K or 1), n, block, ...]."""

  def split(x):
    lead = x.shape[0] * x.shape[1]
    return x.reshape(lead, -1, block, *x.shape[3:])

  return jax.tree.map(split, tree)


def _places(coordinates, block):
  """Coordinates [B or 1, n * block] as [B or 1, n, block]."""
  return _blocks(jax.tree.map(lambda x: x[:, None], coordinates), block)


def _turn(index, turn):
  """[R, TILES], the blocks that come in one step."""
  return jax.lax.dynamic_slice_in_dim(index, turn * TILES, TILES, axis=1)


def _clear(tree, keep):
  """Arrays [R, tokens, ...], with zeros where `keep` [R, tokens] is False."""

  def clear(x):
    return jnp.where(keep.reshape(*keep.shape, *(1,) * (x.ndim - 2)), x, 0)

  return jax.tree.map(clear, tree)


def _start(start, rows, data):
  """The carry of `rows` blocks.

  Inside `shard_map` the carry of a loop must vary over the mesh axes that the
  data varies over from the first turn on: hence the zero made of the data.
  """
  firsts = (jnp.zeros_like(x[(0,) * x.ndim]) for x in jax.tree.leaves(data))
  zero = functools.reduce(operator.add, firsts)
  return jax.tree.map(
    lambda x: jnp.broadcast_to(x, (rows, *x.shape)) + zero.astype(x.dtype),
    start,
  )
