"""Exact masks of fixed grids, built once on the host.

Inside jit a tile is classed from ranges of coordinates, which calls too many
tiles PARTIAL. For a grid known in advance every such tile is looked into, in
chunks, and the mask becomes a constant of the program. The order in which
tokens are stored belongs to it: a Layout takes tokens there and back.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention.block_mask import (
  BlockMask,
  from_classes,
  from_pattern,
  may_meet,
)
from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.grids.orders import Order, grid_coordinates
from trajvit.ops.attention.pattern import (
  EMPTY,
  FULL,
  PARTIAL,
  Pattern,
  both,
)
from trajvit.ops.attention.patterns import Registers

# Pairs of tokens that are looked at together.
CHUNK = 1 << 22


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
  """How tokens in raster order, registers in front, are stored for a mask.

  Letters: N tokens of the encoder, S places of the mask. A place may be
  padding, so S >= N.

  Attributes:
    gather: [S] int32, the token at each place; 0 in padding.
    scatter: [N] int32, the place of each token.
    real: [S] bool, False = padding.
  """

  gather: np.ndarray
  scatter: np.ndarray
  real: np.ndarray

  def store(self, tokens: jax.Array) -> jax.Array:
    """Returns [B, S, ...] of [B, N, ...]: the mask's order, padding zero."""
    return _store(self, tokens)

  def restore(self, stored: jax.Array) -> jax.Array:
    """Returns [B, N, ...] of [B, S, ...]; undoes `store`."""
    return _restore(self, stored)


def static_mask(
  pattern: Pattern,
  grid: tuple[int, int, int],
  *,
  order: Order | None = None,
  registers: int = 0,
  block_query: int = 128,
  block_key: int = 128,
) -> tuple[Layout, BlockMask]:
  """Returns the exact mask of one clip on a grid, and how to store its tokens.

  Equal arguments return the same objects. Arrays are NumPy, also if the first
  call is inside jit, so they are constants of every program.

  Registers have blocks of their own in front, filled up with padding: one row
  and one column of tiles that all are partial, while in a block with patches
  each would make a tile of its row partial or full that was empty.

  Args:
    pattern: what may meet; `Registers()` is joined to it where there are any.
    grid: (T, h, w) of the patches.
    order: how they are stored; None is the pattern's natural order.
    registers: register and class tokens, which come before the patches.
    block_query: tokens in a query block.
    block_key: tokens in a key block.

  Raises:
    ValueError: `grid` or `registers` make no sense.
  """
  if registers < 0:
    raise ValueError(f"registers must be at least 0, got {registers}")
  order = pattern.natural_order() if order is None else order
  blocks = block_query, block_key
  return _static_mask(pattern, tuple(grid), order, registers, *blocks)


@functools.lru_cache(maxsize=64)
def _static_mask(pattern, grid, order, registers, block_query, block_key):
  if registers:
    pattern = pattern | Registers()
  front = math.lcm(block_query, block_key)
  front *= -(-registers // front)
  permutation = order.permutation(grid)
  layout = _layout(permutation, registers, front)
  tokens = _coordinates(grid, permutation, registers, front)
  # Also under jit these are values, not tracers.
  with jax.ensure_compile_time_eval():
    size = dict(block_query=block_query, block_key=block_key)
    mask = _from_pattern(pattern, tokens, **size)
    area = block_query * block_key
    pairs = tile_pairs(mask)
    filled = np.where(pairs == area, FULL, PARTIAL)
    classes = np.where(pairs == 0, EMPTY, filled)
    return layout, jax.tree.map(np.asarray, mask.with_classes(classes))


# One program; op by op takes seconds.
_from_pattern = jax.jit(
  from_pattern, static_argnames=("pattern", "block_query", "block_key")
)


def tile_pairs(mask: BlockMask) -> np.ndarray:
  """Returns how many pairs of tokens may meet in each tile, on the host.

  Args:
    mask: of values, not tracers.

  Returns:
    [B or 1, Hm, nq, nk] int64. A FULL tile counts all its pairs.
  """
  classes = np.asarray(mask.classes)
  query = _blocks(mask.query, mask.block_query)
  key = _blocks(mask.key, mask.block_key)
  batch = max(len(classes), len(query.segment), len(key.segment))
  classes = np.broadcast_to(classes, (batch, *classes.shape[1:]))
  area = mask.block_query * mask.block_key
  pairs = np.where(classes == FULL, area, 0).astype(np.int64)
  tiles = np.argwhere(classes == PARTIAL)  # [n, 4]
  step = max(1, min(len(tiles), CHUNK // area))
  for start in range(0, len(tiles), step):
    chunk = tiles[start : start + step]
    # Chunks of one shape are one program.
    even = np.pad(chunk, [(0, step - len(chunk)), (0, 0)], mode="edge")
    rows = _pick(query, even[:, 0], even[:, 2])
    columns = _pick(key, even[:, 0], even[:, 3])
    counts = np.asarray(_count(mask.pattern, rows, columns))
    pairs[tuple(chunk.T)] = counts[: len(chunk)]
  return pairs


def with_padding(mask: BlockMask, real: jax.Array) -> BlockMask:
  """Returns a mask of self-attention for clips with padding, inside jit.

  Args:
    mask: of one clip in which all tokens are real, from `static_mask`.
    real: [B, S] bool, True = real, stored as the mask's layout says.

  Raises:
    ValueError: `real` has not one entry for every token of the mask.
  """
  if real.ndim != 2 or real.shape[1] != mask.query_length:
    raise ValueError(f"real must be [B, {mask.query_length}], got {real.shape}")
  tokens = jax.tree.map(lambda x: x[:, : mask.query_length], mask.query)
  segment = jnp.where(real, tokens.segment, -1)
  tokens = dataclasses.replace(tokens, segment=segment)
  tokens = jax.tree.map(lambda x: jnp.broadcast_to(x, real.shape), tokens)
  rows = _filled(segment, mask.block_query)[:, None, :, None]
  columns = _filled(segment, mask.block_key)[:, None, None, :]
  return from_classes(
    both(mask.classes, both(rows, columns)),
    tokens,
    tokens,
    pattern=mask.pattern,
    block_query=mask.block_query,
    block_key=mask.block_key,
  )


def _filled(segment, block) -> jax.Array:
  """[B, n]: FULL for a block of real tokens only, EMPTY for one without."""
  missing = -segment.shape[1] % block
  real = jnp.pad(segment >= 0, [(0, 0), (0, missing)])
  real = real.reshape(real.shape[0], -1, block)
  some = jnp.where(real.any(-1), PARTIAL, EMPTY)
  return jnp.where(real.all(-1), FULL, some)


def _blocks(coordinates, block) -> Coordinates:
  """[B, n, block] NumPy arrays."""
  return jax.tree.map(
    lambda x: np.asarray(x).reshape(len(x), -1, block), coordinates
  )


def _pick(coordinates, batch, block) -> Coordinates:
  """[tiles, block size]: one block for each tile."""
  return jax.tree.map(lambda x: x[batch % len(x), block], coordinates)


@functools.partial(jax.jit, static_argnums=0)
def _count(pattern, query, key):
  """[n] int32 from coordinates [n, block_query] and [n, block_key]."""
  query = jax.tree.map(lambda x: x[:, :, None], query)
  key = jax.tree.map(lambda x: x[:, None, :], key)
  return may_meet(pattern, query, key).sum((1, 2), dtype=jnp.int32)


def _layout(permutation, registers, front) -> Layout:
  gather = np.zeros(front + len(permutation), np.int32)
  gather[:registers] = np.arange(registers)
  gather[front:] = registers + permutation
  real = np.arange(len(gather)) >= front
  real[:registers] = True
  scatter = np.zeros(registers + len(permutation), np.int32)
  scatter[gather[real]] = np.flatnonzero(real)
  return Layout(gather, scatter, real)


def _coordinates(grid, permutation, registers, front) -> Coordinates:
  """[1, S]: registers, padding, and the patches in their order."""
  t, y, x = grid_coordinates(grid)

  def lay(patches, register, padding=0):
    array = np.full((1, front + len(permutation)), padding, np.int32)
    array[0, :registers] = register
    array[0, front:] = patches
    return array

  return Coordinates(
    segment=lay(0, 0, padding=-1),
    t=lay(t[permutation], 0),
    y=lay(y[permutation], 0),
    x=lay(x[permutation], 0),
    register=lay(0, 1),
    index=lay(permutation, 0),
  )


# Either is the transpose of the other. Saying so makes both gradients a gather:
# scatters are slow on TPU.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _store(layout, tokens):
  stored = jnp.take(tokens, layout.gather, axis=1)
  real = layout.real.reshape(1, -1, *[1] * (tokens.ndim - 2))
  return jnp.where(real, stored, jnp.zeros((), stored.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _restore(layout, stored):
  return jnp.take(stored, layout.scatter, axis=1)


_store.defvjp(
  lambda layout, tokens: (_store(layout, tokens), None),
  lambda layout, _, gradient: (_restore(layout, gradient),),
)
_restore.defvjp(
  lambda layout, stored: (_restore(layout, stored), None),
  lambda layout, _, gradient: (_store(layout, gradient),),
)
