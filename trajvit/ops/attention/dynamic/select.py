"""Choosing tiles from data: pooled scores, the best k, the best share.

A choice is a BlockMask taken out of another one, `base`, that says what may be
chosen and what decides inside partial tiles. No gradient passes a choice.

A block that holds tokens of several packed clips has no score of its own, for
it would carry one clip into the choice of another. Its tiles are always taken.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.pattern import EMPTY


def _mean(x, real):
  return jnp.where(real, x, 0).sum(2) / jnp.maximum(real.sum(2), 1)


def _max(x, real):
  return jnp.where(real, x, jnp.finfo(x.dtype).min).max(2)


def _min(x, real):
  return jnp.where(real, x, jnp.finfo(x.dtype).max).min(2)


POOLS = {"mean": _mean, "max": _max, "min": _min}


def pooled(
  x: jax.Array,
  coordinates: Coordinates,
  block: int,
  kinds: Sequence[str] = ("mean",),
) -> jax.Array:
  """Returns [B, K, n, len(kinds) * d] float32, one vector for each block.

  Args:
    x: [B, N, K, d].
    coordinates: [B or 1, at least N]; padding is not read.
    block: tokens in a block.
    kinds: names in POOLS, concatenated in this order.

  Returns:
    n = ceil(N' / block) blocks for the N' tokens of `coordinates`; zeros for a
    block without real tokens.
  """
  count = -(-coordinates.segment.shape[-1] // block)
  real = coordinates.pad(count * block).valid()
  real = real.reshape(-1, count, block, 1, 1)
  missing = count * block - x.shape[1]
  x = jnp.pad(x.astype(jnp.float32), [(0, 0), (0, missing), (0, 0), (0, 0)])
  x = x.reshape(x.shape[0], count, block, *x.shape[2:])
  some = real.any(2)
  pools = [jnp.where(some, POOLS[kind](x, real), 0) for kind in kinds]
  return jnp.concatenate(pools, axis=-1).swapaxes(1, 2)


def pooled_scores(
  query: jax.Array,
  key: jax.Array,
  base: BlockMask,
  *,
  scale: float | None = None,
) -> jax.Array:
  """Returns [B, K, nq, nk] float32, the logit of the mean query and mean key.

  Source: the block-sparse heads of MInference, arXiv:2407.02490.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    base: its coordinates and block sizes are used.
    scale: of the logits; None is d ** -0.5.
  """
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  rows = pooled(query, base.query, base.block_query)
  columns = pooled(key, base.key, base.block_key)
  return scale * jnp.einsum("bhqd,bhkd->bhqk", rows, columns)


def forced_tiles(
  base: BlockMask, *, diagonal: bool = True, sinks: int = 1
) -> np.ndarray:
  """Returns [1, 1, nq, nk] bool, tiles that any choice should hold.

  It is a NumPy array, so that how many they are is known when compiling.

  Args:
    base: gives the blocks.
    diagonal: those in which a token meets itself.
    sinks: those of the first key blocks, where class and register tokens are.
  """
  rows, columns = base.classes.shape[2:]
  query, key = np.ogrid[:rows, :columns]
  forced = np.broadcast_to(key < sinks, (rows, columns))
  if diagonal:
    low, high = query * base.block_query, key * base.block_key
    meet = (low < high + base.block_key) & (high < low + base.block_query)
    forced = forced | meet
  return forced[None, None]


def register_tiles(base: BlockMask) -> jax.Array:
  """Returns [B or 1, 1, nq, nk] bool, tiles with a class or register token.

  Such tokens see all and are seen by all: whole rows and columns of tiles.
  """

  def holds(coordinates, block):
    register = (coordinates.register == 1) & coordinates.valid()
    return register.reshape(register.shape[0], 1, -1, block).any(-1)

  rows = holds(base.query, base.block_query)
  columns = holds(base.key, base.block_key)
  return rows[..., :, None] | columns[..., None, :]


def mixed_tiles(base: BlockMask) -> jax.Array:
  """Returns [B or 1, 1, nq, nk] bool, tiles with two segments in one block."""

  def mixed(coordinates, block):
    segment = coordinates.segment
    blocks = segment.reshape(segment.shape[0], 1, -1, block)
    # Padding is -1: it counts as the largest segment of its block.
    top = blocks.max(-1)
    return jnp.where(blocks < 0, top[..., None], blocks).min(-1) != top

  rows = mixed(base.query, base.block_query)
  columns = mixed(base.key, base.block_key)
  return rows[..., :, None] | columns[..., None, :]


def top_blocks(
  scores: jax.Array,
  k: int,
  base: BlockMask,
  *,
  forced: jax.Array | np.ndarray | None = None,
  capacity: int | None = None,
) -> BlockMask:
  """Returns `base` with the k tiles of highest score in each row of tiles.

  Args:
    scores: [B, K, nq, nk]; of equal ones the first key block wins.
    k: tiles of a row besides the forced ones, at least 0.
    base: what may be chosen.
    forced: bool that broadcasts to [B, K, nq, nk], tiles that are always in
      (where `base` has them): `forced_tiles`, `register_tiles`, or those of
      another BlockMask, `other.classes != EMPTY`. None forces none.
    capacity: the longest list, k and the most forced tiles of a row; what does
      not fit is counted in `dropped`. None fits all.

  Raises:
    ValueError: k is negative.
  """
  if k < 0:
    raise ValueError(f"k must be at least 0, got {k}")
  candidate, always = _candidates(scores, base, forced)
  _, place = ranks(jnp.where(candidate, scores, -jnp.inf))
  return _take(candidate & (place < k) | always, base, capacity)


def top_mass(
  scores: jax.Array,
  mass: float,
  base: BlockMask,
  *,
  most: int | None = None,
  forced: jax.Array | np.ndarray | None = None,
  capacity: int | None = None,
) -> BlockMask:
  """Returns `base` with, in each row, the fewest tiles that hold `mass`.

  The softmax of the scores over the tiles of a row that are not forced is taken
  for their attention. Lists differ in length, and `most` bounds them.

  Args:
    scores: [B, K, nq, nk]; of equal ones the first key block wins.
    mass: share of the softmax, in (0, 1]; 1 takes all.
    base: what may be chosen.
    most: the most tiles of a row besides the forced ones; None is no bound.
    forced: as in `top_blocks`.
    capacity: as in `top_blocks`, of `most`.

  Raises:
    ValueError: mass outside (0, 1].
  """
  if not 0 < mass <= 1:
    raise ValueError(f"mass must be in (0, 1], got {mass}")
  candidate, always = _candidates(scores, base, forced)
  order, place = ranks(jnp.where(candidate, scores, -jnp.inf))
  chosen = candidate
  if mass < 1:
    floor = jnp.finfo(scores.dtype).min
    share = jax.nn.softmax(jnp.where(candidate, scores, floor), axis=-1)
    share = jnp.take_along_axis(share, order, axis=-1)
    missing = share.cumsum(-1) - share < mass  # before this tile is taken
    chosen &= jnp.take_along_axis(missing, place, axis=-1)
  if most is not None:
    chosen &= place < most
  return _take(chosen | always, base, capacity)


def ranks(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the order of the last axis, highest first, and its inverse.

  Of equal scores the first comes first. No gradient passes.

  Args:
    scores: [..., n].

  Returns:
    order: [..., n] int32, the place of the i-th highest.
    rank: [..., n] int32, i for each place.
  """
  order = jnp.argsort(-jax.lax.stop_gradient(scores), axis=-1, stable=True)
  return order, jnp.argsort(order, axis=-1)


def density(mask: BlockMask) -> jax.Array:
  """Returns [] float32, the share of all tiles that are listed."""
  return (mask.classes != EMPTY).mean(dtype=jnp.float32)


def per_head(base: BlockMask, heads: int) -> jax.Array:
  """Returns the classes of `base` as [Bm, 1 or heads, nq, nk]."""
  lists = base.classes.shape[1]
  if lists == 1:
    return base.classes
  return jnp.repeat(base.classes, heads // lists, axis=1)


def _candidates(scores, base, forced):
  """Bool [B, K, nq, nk]: what competes, and what is in without competing."""
  shape = scores.shape
  present = jnp.broadcast_to(per_head(base, shape[1]) != EMPTY, shape)
  always = mixed_tiles(base)
  if forced is not None:
    always = always | forced
  always = jnp.broadcast_to(always, shape)
  return present & ~always, present & always


def _take(kept, base, capacity):
  """`base` with one list a head, of the tiles that are kept."""
  classes = jnp.where(kept, per_head(base, kept.shape[1]), EMPTY)
  return base.with_classes(classes, capacity)
