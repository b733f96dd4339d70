"""How sparse a mask is: of tokens, of blocks, and what that costs.

Three numbers that are easily taken for one another. A pattern decides the
token density, the cost is the block density, and their quotient tells how much
of what is computed is thrown away.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.grids.orders import (
  Hilbert,
  Morton,
  Order,
  Raster,
  Tile,
)
from trajvit.ops.attention.grids.static import static_mask, tile_pairs
from trajvit.ops.attention.pattern import EMPTY, FULL, Pattern
from trajvit.ops.attention.patterns import (
  Axial,
  BlockCausal,
  FrameCausal,
  Grid,
  Power,
  Radial,
  RadialRaster,
  TileWindow,
  Window,
)


@dataclasses.dataclass(frozen=True)
class Density:
  """How sparse a mask is.

  Attributes:
    token_density: pairs of tokens that may meet, over all pairs of real tokens
      of a row, whatever their segment.
    block_density: tiles that are computed, over all tiles.
    tile_efficiency: pairs that may meet, over the pairs of computed tiles.
    full_fraction: full tiles, over computed tiles.
    imbalance: the longest list of key blocks, over the mean one.
  """

  token_density: float
  block_density: float
  tile_efficiency: float
  full_fraction: float
  imbalance: float

  def __str__(self):
    return (
      f"tokens {self.token_density:.3f}, blocks {self.block_density:.3f}, "
      f"tile efficiency {self.tile_efficiency:.2f}, "
      f"full {self.full_fraction:.2f}, longest list {self.imbalance:.1f}x mean"
    )


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the density table: a pattern on a grid, stored in an order."""

  grid: tuple[int, int, int]
  pattern: Pattern
  order: Order
  density: Density


def measure(mask: BlockMask) -> Density:
  """Returns the density of a mask, on the host, with nothing of size N x N.

  Args:
    mask: of values, not tracers. Rows of a batch and lists of heads are taken
      together; a mask that computes nothing is 0 throughout.
  """
  pairs = tile_pairs(mask)
  classes = np.broadcast_to(np.asarray(mask.classes), pairs.shape)
  visited = classes != EMPTY
  query, key = (
    (np.asarray(x.segment) >= 0).sum(-1) for x in (mask.query, mask.key)
  )
  heads = pairs.shape[1]
  possible = np.broadcast_to(query * key, pairs.shape[:1]).sum() * heads
  computed = visited.sum()
  area = mask.block_query * mask.block_key
  lists = visited.sum(-1)
  return Density(
    token_density=float(pairs.sum() / max(possible, 1)),
    block_density=float(visited.mean()),
    tile_efficiency=float(pairs.sum() / max(computed * area, 1)),
    full_fraction=float((classes == FULL).sum() / max(computed, 1)),
    imbalance=float(lists.max() / max(lists.mean(), 1e-9)),
  )


def density_table(
  grids: Iterable[tuple[int, int, int]] = ((16, 16, 16), (16, 28, 28)),
  block: int = 128,
  cases: Sequence[tuple[Pattern, Order]] | None = None,
) -> list[Row]:
  """Returns the density of patterns on grids, each in several orders.

  Args:
    grids: (T, h, w) each.
    block: tokens in a block, of queries and of keys.
    cases: the patterns, with the orders they are stored in; None is a choice
      of them that fits the grid.
  """
  rows = []
  for grid in grids:
    for pattern, order in cases or default_cases(grid, block):
      _, mask = static_mask(
        pattern, grid, order=order, block_query=block, block_key=block
      )
      rows.append(Row(tuple(grid), pattern, order, measure(mask)))
  return rows


def format_table(rows: Iterable[Row]) -> str:
  """Returns a Markdown table of the rows."""
  lines = [
    "| grid | pattern | order | tokens | blocks | tile efficiency "
    "| full tiles | longest list |",
    "|---|---|---|--:|--:|--:|--:|--:|",
  ]
  for row in rows:
    density = row.density
    lines.append(
      f"| {'x'.join(map(str, row.grid))} | {_label(row.pattern)} "
      f"| {_label(row.order)} "
      f"| {density.token_density:.3f} | {density.block_density:.3f} "
      f"| {density.tile_efficiency:.2f} | {density.full_fraction:.2f} "
      f"| {density.imbalance:.1f}x |"
    )
  return "\n".join(lines)


def default_cases(
  grid: tuple[int, int, int], block: int
) -> list[tuple[Pattern, Order]]:
  """Returns the patterns and orders that `density_table` compares."""
  tile = _tile(grid, block)
  radius = max(grid[1:]) // 2
  frame = grid[1] * grid[2]
  least = min(block, 1 << frame.bit_length() - 1)
  patterns = (
    Window(t=2, y=3, x=3),
    Window(t=4, y=2, x=2),
    Window(t=1),
    FrameCausal(),
    BlockCausal(4),
    Axial(),
    Radial(radius),
    RadialRaster(grid[1], grid[2], least),
  )
  orders = Raster(), Tile(*tile), Morton(), Hilbert()
  cases = list(itertools.product(patterns, orders))
  for pattern in (TileWindow(tile), Grid(y=4, x=4), Power(block)):
    for order in dict.fromkeys((Raster(), pattern.natural_order())):
      cases.append((pattern, order))
  return cases


def _tile(grid, block) -> tuple[int, int, int]:
  """A tile of one block that divides the grid if (4, 4, n) or (n, 4, 4) do."""
  long = max(1, block // 16)
  return (4, 4, long) if grid[2] % long == 0 else (long, 4, 4)


def _label(value: Pattern | Order) -> str:
  """The class and the arguments that differ from its defaults."""
  arguments = [
    f"{field.name}={getattr(value, field.name)}"
    for field in dataclasses.fields(value)
    if getattr(value, field.name) != field.default
  ]
  name = type(value).__name__
  return f"{name}({', '.join(arguments)})" if arguments else name
