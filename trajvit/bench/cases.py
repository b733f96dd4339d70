"""The masks that attention is timed with: random tiles, and patterns."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention import (
  BlockMask,
  Coordinates,
  from_classes,
  from_pattern,
  sequence,
)
from trajvit.ops.attention.block_mask import pattern_classes
from trajvit.ops.attention.grids.orders import ORDERS, grid_coordinates
from trajvit.ops.attention.grids.static import static_mask
from trajvit.ops.attention.pattern import EMPTY, FULL, Dense, Pattern, both
from trajvit.ops.attention.patterns import PATTERNS

RANDOM_TILES = "random tiles"

# What a pattern that is only named stands for, on (T, h, w) and with blocks of
# so many keys.
ARGUMENTS = {
  "a_shape": lambda grid, block: dict(
    sink=grid[1] * grid[2], window=2 * grid[1] * grid[2]
  ),
  "block_causal": lambda grid, block: dict(frames=4),
  "grid": lambda grid, block: dict(y=4, x=4),
  "power": lambda grid, block: dict(block=block),
  "radial": lambda grid, block: dict(radius=max(grid[1:]) // 2),
  "radial_raster": lambda grid, block: dict(
    height=grid[1],
    width=grid[2],
    # The largest power of two that a frame and a block have room for.
    block=1 << min(grid[1] * grid[2], block).bit_length() - 1,
  ),
  "vertical_slash": lambda grid, block: dict(
    columns=(0,), diagonals=(0, grid[1] * grid[2])
  ),
  "window": lambda grid, block: dict(t=2, y=3, x=3),
}


@dataclasses.dataclass(frozen=True)
class Case:
  """A mask to time attention with.

  Attributes:
    name: of the row of the table.
    build: `build(*args) -> BlockMask`, under jit: what mask building costs.
    args: what is known before, such as coordinates.
    exact: the mask as it is built on the host, if attention is to be timed with
      that one; None times it with what `build` returns.
  """

  name: str
  build: Callable[..., BlockMask]
  args: tuple
  exact: BlockMask | None = None

  def mask(self) -> BlockMask:
    """Returns the mask that attention is timed with, on the device."""
    if self.exact is not None:
      return jax.tree.map(jnp.asarray, self.exact)
    return jax.jit(self.build)(*self.args)


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

  Raises:
    ValueError: `density` is not in (0, 1].
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
  name = f"{RANDOM_TILES} {density:.3g}"
  return Case(name, build, (jnp.asarray(classes),))


def pattern(
  text: str,
  grid: tuple[int, int, int],
  *,
  block_query: int,
  block_key: int,
  traced: bool = False,
) -> Case:
  """Returns a pattern on a grid of patches.

  Args:
    text: `name[:key=value,...][@order]`, such as "window:t=2,y=3,x=3@tile". A
      value is an integer or several joined by x, as in `tile=4x4x8`. Arguments
      that are not named are those of ARGUMENTS or of the pattern; without an
      order it is the pattern's natural one.
    grid: (T, h, w).
    block_query: tokens in a query block.
    block_key: tokens in a key block.
    traced: time attention with the lists that are made inside jit, of which
      more tiles are partial than of the exact ones.

  Raises:
    ValueError: an unknown name, argument or order.
  """
  rule, order = parse_pattern(text, grid, block_key)
  blocks = dict(block_query=block_query, block_key=block_key)
  stored = order.permutation(grid)
  zeros = np.zeros(len(stored), np.int32)
  t, y, x = (axis[stored] for axis in grid_coordinates(grid))
  tokens = Coordinates(
    *(jnp.asarray(a)[None] for a in (zeros, t, y, x, zeros, stored))
  )
  build = functools.partial(from_pattern, rule, **blocks)
  exact = None
  if not traced:
    _, exact = static_mask(rule, grid, order=order, **blocks)
  return Case(text, build, (tokens,), exact)


def parse_pattern(text: str, grid, block: int) -> tuple[Pattern, object]:
  """Returns the pattern and the order that `text` names; see `pattern`.

  Raises:
    ValueError: an unknown name, argument or order.
  """
  rule, _, order = text.partition("@")
  name, _, pairs = rule.partition(":")
  default = ARGUMENTS[name](grid, block) if name in ARGUMENTS else {}
  given = {}
  for pair in filter(None, pairs.split(",")):
    key, _, value = pair.partition("=")
    try:
      numbers = tuple(int(part) for part in value.split("x"))
    except ValueError as error:
      raise ValueError(
        f"{key} in {text!r} must be an integer, or several joined by x as in "
        f"4x4x8, got {value!r}"
      ) from error
    given[key] = numbers[0] if len(numbers) == 1 else numbers
  found = PATTERNS.build({"name": name} | default | given)
  return found, ORDERS[order]() if order else found.natural_order()


def count_logits(mask: BlockMask, batch: int, heads: int) -> int:
  """Returns how many logits are computed, over the batch and all heads.

  Args:
    mask: its lists may be shared by clips and heads.
    batch: B.
    heads: K.
  """
  lists = mask.classes.shape
  shared = batch // lists[0] * (heads // lists[1])
  tiles = int((np.asarray(mask.classes) != EMPTY).sum()) * shared
  return tiles * mask.block_query * mask.block_key


def _build_tiles(classes, *, length, block_query, block_key):
  tokens = sequence(length)
  blocks = dict(block_query=block_query, block_key=block_key)
  real = pattern_classes(Dense(), tokens, tokens, **blocks)
  return from_classes(
    both(classes, real), tokens, tokens, pattern=Dense(), **blocks
  )
