"""BlockMask: which tiles of the logits are computed, as lists of blocks.

The sequence is cut into blocks; a tile is a pair of a query block and a key
block. A tile is EMPTY (never computed), FULL (computed without looking at a
mask) or PARTIAL (computed, then masked by the pattern). Kernels walk, for each
query block, the list of its key blocks, full ones first; for the gradients of
keys and values they walk the transposed lists. Nothing here is of size N x N.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.pattern import (
  EMPTY,
  FULL,
  PARTIAL,
  Bounds,
  Pattern,
  both,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TileLists:
  """For each of n blocks, the blocks that it meets.

  Attributes:
    full: [Bm, Hm, n] int32, how many full tiles; they come first.
    count: [Bm, Hm, n] int32, how many tiles.
    index: [Bm, Hm, n, width] int32, numbers of the blocks met, ascending among
      the full and among the partial ones. Entries from `count` on are valid
      block numbers too, but mean nothing.
  """

  full: jax.Array
  count: jax.Array
  index: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockMask:
  """Which tiles are computed, and what decides inside a partial one.

  Letters: nq, nk number of query and key blocks; Bm 1 or the batch; Hm divides
  the number of heads K, and head h uses list h // (K / Hm).

  Attributes:
    classes: [Bm, Hm, nq, nk] int8, EMPTY, FULL or PARTIAL.
    key_lists: for each query block, its key blocks.
    query_lists: for each key block, its query blocks; the same tiles.
    query: Coordinates [B or 1, nq * block_query], -1 segments as padding.
    key: Coordinates [B or 1, nk * block_key].
    dropped: [] int32, tiles that did not fit into lists of the capacity that
      was asked for, over all lists: to be logged.
    pattern: decides inside partial tiles, together with the segments.
    block_query: tokens in a query block.
    block_key: tokens in a key block.
    query_length: tokens before padding to whole blocks.
    key_length: likewise.
  """

  classes: jax.Array
  key_lists: TileLists
  query_lists: TileLists
  query: Coordinates
  key: Coordinates
  dropped: jax.Array
  pattern: Pattern = dataclasses.field(metadata=dict(static=True))
  block_query: int = dataclasses.field(metadata=dict(static=True))
  block_key: int = dataclasses.field(metadata=dict(static=True))
  query_length: int = dataclasses.field(metadata=dict(static=True))
  key_length: int = dataclasses.field(metadata=dict(static=True))

  def allowed(self, query: Coordinates, key: Coordinates) -> jax.Array:
    """Returns bool, which pairs of a partial tile may meet."""
    return may_meet(self.pattern, query, key)

  def dense(self) -> jax.Array:
    """Returns [B or 1, Hm, Nq, Nk] bool: for tests and the reference."""
    tall = jnp.repeat(self.classes, self.block_query, axis=2)
    tile = jnp.repeat(tall, self.block_key, axis=3)
    columns = jax.tree.map(lambda x: x[:, None, :, None], self.query)
    rows = jax.tree.map(lambda x: x[:, None, None, :], self.key)
    inside = self.allowed(columns, rows)
    allowed = (tile == FULL) | ((tile == PARTIAL) & inside)
    return allowed[:, :, : self.query_length, : self.key_length]

  def keep(self, kept: jax.Array) -> "BlockMask":
    """Returns the mask of the tiles where `kept` [B, K, nq, nk] is True."""
    group = kept.shape[1] // self.classes.shape[1]
    classes = jnp.repeat(self.classes, group, axis=1)
    return self.with_classes(jnp.where(kept, classes, EMPTY))

  def with_classes(
    self, classes: jax.Array, capacity: int | None = None
  ) -> "BlockMask":
    """Returns the mask of other tile classes; see `from_classes`."""
    return dataclasses.replace(self, **_lists(classes, capacity))


def may_meet(
  pattern: Pattern, query: Coordinates, key: Coordinates
) -> jax.Array:
  """Returns bool, what a pattern allows inside segments, padding left out."""
  same = (query.segment == key.segment) & (key.segment >= 0)
  return same & pattern.allowed(query, key)


def from_classes(
  classes: jax.Array,
  query: Coordinates,
  key: Coordinates,
  *,
  pattern: Pattern,
  block_query: int = 128,
  block_key: int = 128,
  capacity: int | None = None,
) -> BlockMask:
  """Returns the BlockMask of given tile classes, under jit too.

  Args:
    classes: [Bm, Hm, nq, nk] integers, EMPTY, FULL or PARTIAL. A FULL tile
      with padding or with two segments in it is an error of the caller: `meet`
      of `pattern_classes` keeps it from happening.
    query: Coordinates [B or 1, Nq], in the order the tokens are stored.
    key: Coordinates [B or 1, Nk].
    pattern: decides inside partial tiles.
    block_query: tokens in a query block.
    block_key: tokens in a key block.
    capacity: the most key blocks a list holds; what is over it is dropped,
      partial tiles first, and counted. None holds all.

  Raises:
    ValueError: `classes` has not one entry for every tile.
  """
  lengths = query.segment.shape[-1], key.segment.shape[-1]
  blocks = -(-lengths[0] // block_query), -(-lengths[1] // block_key)
  if classes.ndim != 4 or classes.shape[2:] != blocks:
    raise ValueError(
      f"classes must be [Bm, Hm, {blocks[0]}, {blocks[1]}] for lengths "
      f"{lengths} in blocks of {block_query} and {block_key}, "
      f"got {classes.shape}"
    )
  return BlockMask(
    query=query.pad(blocks[0] * block_query),
    key=key.pad(blocks[1] * block_key),
    pattern=pattern,
    block_query=block_query,
    block_key=block_key,
    query_length=lengths[0],
    key_length=lengths[1],
    **_lists(classes, capacity),
  )


def from_pattern(
  pattern: Pattern,
  query: Coordinates,
  key: Coordinates | None = None,
  *,
  block_query: int = 128,
  block_key: int = 128,
) -> BlockMask:
  """Returns the BlockMask of a pattern over tokens known only inside jit.

  Tiles are classed from the ranges of the coordinates in a block, so a tile may
  be PARTIAL that is EMPTY or FULL in truth: the result is right, and some work
  is wasted. See `grids.static` for the exact mask of a fixed grid.

  Args:
    pattern: what may meet, inside a segment.
    query: Coordinates [B or 1, Nq].
    key: Coordinates [B or 1, Nk]; None means those of the query.
    block_query: tokens in a query block.
    block_key: tokens in a key block.
  """
  key = query if key is None else key
  classes = pattern_classes(pattern, query, key, block_query, block_key)
  return from_classes(
    classes,
    query,
    key,
    pattern=pattern,
    block_query=block_query,
    block_key=block_key,
  )


def pattern_classes(
  pattern: Pattern,
  query: Coordinates,
  key: Coordinates,
  block_query: int = 128,
  block_key: int = 128,
) -> jax.Array:
  """Returns [B or 1, 1, nq, nk] int32, the classes of all tiles.

  Segments and padding are part of it: a FULL tile has real tokens of one
  segment only.
  """
  query_bounds, query_whole = _bounds(query, block_query)
  key_bounds, key_whole = _bounds(key, block_key)
  rows = jax.tree.map(lambda x: x[:, :, None], query_bounds)  # [B, nq, 1]
  columns = jax.tree.map(lambda x: x[:, None, :], key_bounds)  # [B, 1, nk]
  same = equality(
    (rows.low.segment, rows.high.segment),
    (columns.low.segment, columns.high.segment),
  )
  whole = query_whole[:, :, None] & key_whole[:, None, :]
  same = jnp.where(whole | (same == EMPTY), same, PARTIAL)
  real = (rows.high.segment >= 0) & (columns.high.segment >= 0)
  same = jnp.where(real, same, EMPTY)
  return both(same, pattern.classes(rows, columns))[:, None]


def equality(query: tuple, key: tuple) -> jax.Array:
  """Returns the classes of "one coordinate is equal", from (low, high)."""
  meet = (query[0] <= key[1]) & (key[0] <= query[1])
  single = (query[0] == query[1]) & (key[0] == key[1])
  return jnp.where(meet, jnp.where(single, FULL, PARTIAL), EMPTY)


def _bounds(coordinates: Coordinates, block: int) -> tuple[Bounds, jax.Array]:
  """Ranges over the real tokens of each block, and [B, n] if all are real.

  In a block without any, all ranges are [-1, -1].
  """
  length = coordinates.segment.shape[-1]
  padded = coordinates.pad(-(-length // block) * block)
  blocks = jax.tree.map(lambda x: x.reshape(x.shape[0], -1, block), padded)
  real = blocks.valid()
  some = real.any(-1)
  limits = jnp.iinfo(jnp.int32)

  def low(x):
    return jnp.where(some, jnp.where(real, x, limits.max).min(-1), -1)

  def high(x):
    return jnp.where(some, jnp.where(real, x, limits.min).max(-1), -1)

  bounds = Bounds(jax.tree.map(low, blocks), jax.tree.map(high, blocks))
  return bounds, real.all(-1)


def _lists(classes, capacity) -> dict:
  """The fields of BlockMask that follow from the classes."""
  capacity = min(capacity or classes.shape[3], classes.shape[3])
  rank = _rank(classes)
  if capacity < classes.shape[3]:
    last = jnp.sort(rank, axis=-1)[..., capacity - 1 : capacity]
    kept = jnp.where(rank <= last, classes, EMPTY)
  else:
    kept = classes
  return dict(
    classes=kept.astype(jnp.int8),
    key_lists=_tile_lists(kept, capacity),
    query_lists=_tile_lists(kept.swapaxes(2, 3), classes.shape[2]),
    dropped=((classes != EMPTY) & (kept == EMPTY)).sum(dtype=jnp.int32),
  )


def _tile_lists(classes, width) -> TileLists:
  """Full tiles, then partial ones, by one sort: no scatter, which Mosaic
  programs of some TPU generations do not take beside their kernels."""
  order = jnp.sort(_rank(classes), axis=-1)[..., :width]
  return TileLists(
    full=(classes == FULL).sum(-1, dtype=jnp.int32),
    count=(classes != EMPTY).sum(-1, dtype=jnp.int32),
    index=order % classes.shape[3],
  )


def _rank(classes) -> jax.Array:
  """[Bm, Hm, n, m] int32: sorts a row into full, partial and empty tiles."""
  number = classes.shape[3]
  group = jnp.where(classes == FULL, 0, jnp.where(classes == PARTIAL, 1, 2))
  return (group * number + jnp.arange(number)).astype(jnp.int32)
