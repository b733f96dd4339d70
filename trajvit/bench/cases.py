"""The masks that attention is timed with: random tiles, and patterns."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention import BlockMask, from_classes, sequence
from trajvit.ops.attention.block_mask import pattern_classes
from trajvit.ops.attention.pattern import EMPTY, FULL, Dense, both


@dataclasses.dataclass(frozen=True)
class Case:
  """A mask to time attention with.

  Attributes:
    name: of the row of the table.
    build: `build(*args) -> BlockMask`, under jit: what mask building costs.
    args: what is known before, such as coordinates.
    tokens: share of the (query, key) pairs that may meet, or None if it is that
      of the tiles.
  """

  name: str
  build: Callable[..., BlockMask]
  args: tuple
  tokens: float | None = None


def random_tiles(
  length: int, density: float, *, block_query: int, block_key: int, seed: int
) -> Case:
  """Returns full tiles at random, as many for every block of queries.

  Args:
    length: N, queries and keys.
    density: share of the tiles; a block of queries meets at least one block of
      keys, the one at its own place.
    block_query: tokens in a query block.
    block_key: tokens in a key block.
    seed: of the choice.
  """
  if not 0 < density <= 1:
    raise ValueError(f"a density must be in (0, 1], got {density}")
  rows, columns = -(-length // block_query), -(-length // block_key)
  met = max(1, round(density * columns))
  # The block at the same place comes first, the others in random order.
  order = np.random.default_rng(seed).random((rows, columns))
  order[np.arange(rows), np.arange(rows) * block_query // block_key] = -1
  chosen = np.argsort(order, axis=1)[:, :met]
  classes = np.full((1, 1, rows, columns), EMPTY, np.int32)
  np.put_along_axis(classes[0, 0], chosen, FULL, axis=1)
  build = functools.partial(
    _build_tiles, length=length, block_query=block_query, block_key=block_key
  )
  return Case(f"random tiles {density:.3g}", build, (jnp.asarray(classes),))


def _build_tiles(classes, *, length, block_query, block_key):
  tokens = sequence(length)
  blocks = dict(block_query=block_query, block_key=block_key)
  real = pattern_classes(Dense(), tokens, tokens, **blocks)
  return from_classes(
    both(classes, real), tokens, tokens, pattern=Dense(), **blocks
  )


def count_logits(mask: BlockMask, batch: int, heads: int) -> int:
  """Returns how many logits are computed, over the batch and all heads.

  Args:
    mask: its lists may be shared by clips and heads.
    batch: B.
    heads: K.
  """
  lists = mask.classes.shape
  shared = batch // lists[0] * (heads // lists[1])
  tiles = int(jnp.sum(mask.key_lists.count)) * shared
  return tiles * mask.block_query * mask.block_key


def density(mask: BlockMask) -> tuple[float, float]:
  """Returns the shares of all tiles that are computed, and that are full."""
  classes = jax.device_get(mask.classes)
  return float((classes != EMPTY).mean()), float((classes == FULL).mean())
