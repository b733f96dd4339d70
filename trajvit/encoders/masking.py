"""Which tokens of an encoder may meet, and in which order they are stored."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from trajvit.ops.attention import (
  AttentionMask,
  BlockMask,
  Coordinates,
  from_pattern,
  sequence,
)
from trajvit.ops.attention.grids.orders import ORDERS, Order
from trajvit.ops.attention.grids.static import static_mask, with_padding
from trajvit.ops.attention.pattern import Dense, Pattern
from trajvit.ops.attention.patterns import Registers, build_pattern
from trajvit.ops.tokens import take
from trajvit.types import Tokens

# From this length on, the tiles of a packed row that hold pairs of one clip
# only are worth listing.
SPARSE_FROM = 1024


@dataclasses.dataclass(frozen=True)
class PaddingMask:
  """Keeps padding, and the clips of a packed row, apart; the default."""

  def __call__(self, tokens: Tokens, *, registers: int):
    """See PatternMask."""
    del registers
    return tokens, self._mask(tokens), lambda stored: stored

  def _mask(self, tokens) -> AttentionMask | BlockMask:
    length, segments = tokens.mask.shape[1], tokens.segments
    if segments is not None and length >= SPARSE_FROM:
      return from_pattern(Dense(), sequence(length, tokens.mask, segments))
    return AttentionMask(tokens.mask, segments, segments)


@dataclasses.dataclass(frozen=True)
class PatternMask:
  """Builds the BlockMask of a pattern, and stores tokens in its order.

  Tokens that are the whole grid, in raster order behind the registers, get the
  exact mask of that grid, a constant of the program. All others (packed,
  reduced, or of trajectories) are put into the cells of the grid that their
  positions fall in, and their tiles are classed inside jit.

  Attributes:
    pattern: which tokens may meet, apart from padding and other clips.
    order: how they are stored.
    grid: (T, h, w), the cells that the pattern counts in.
    block: tokens in a block.
  """

  pattern: Pattern
  order: Order
  grid: tuple[int, int, int]
  block: int

  def __call__(
    self, tokens: Tokens, *, registers: int
  ) -> tuple[Tokens, BlockMask, Callable[[Tokens], Tokens]]:
    """Returns the tokens as they are stored, their mask, and the way back.

    Args:
      tokens: [B, N, D], the first `registers` of a clip are protected.
      registers: how many of a clip there are.
    """
    count = self.grid[0] * self.grid[1] * self.grid[2] + registers
    if tokens.segments is None and tokens.mask.shape[1] == count:
      return self._whole_grid(tokens, registers)
    return self._any_tokens(tokens, registers)

  def _whole_grid(self, tokens, registers):
    layout, mask = static_mask(
      self.pattern,
      self.grid,
      order=self.order,
      registers=registers,
      block_query=self.block,
      block_key=self.block,
    )
    stored = jax.tree.map(layout.store, tokens)
    mask = with_padding(mask, stored.mask)
    return stored, mask, lambda stored: jax.tree.map(layout.restore, stored)

  def _any_tokens(self, tokens, registers):
    places = self.order.sort(self._coordinates(tokens))
    back = jnp.argsort(places, axis=-1)
    stored = take(tokens, places)
    mask = from_pattern(
      self.pattern | Registers() if registers else self.pattern,
      self._coordinates(stored),
      block_query=self.block,
      block_key=self.block,
    )
    return stored, mask, lambda stored: take(stored, back)

  def _coordinates(self, tokens) -> Coordinates:
    """The cells of the grid that positions in [0, 1] fall in."""
    sizes = jnp.array(self.grid)
    cells = jnp.floor(tokens.positions * sizes).astype(jnp.int32)
    t, y, x = jnp.moveaxis(jnp.clip(cells, 0, sizes - 1), -1, 0)
    _, height, width = self.grid
    segments = tokens.segments
    if segments is None:
      segments = jnp.zeros_like(t)
    protected = tokens.protected
    if protected is None:
      protected = jnp.zeros_like(tokens.mask)
    return Coordinates(
      segment=jnp.where(tokens.mask, segments, -1),
      t=t,
      y=y,
      x=x,
      register=protected.astype(jnp.int32),
      index=(t * height + y) * width + x,
    )


def pattern_mask(
  name: str,
  *,
  grid: tuple[int, int, int],
  order: dict | None = None,
  block: int = 128,
  **options,
) -> PatternMask:
  """Returns the mask that a config describes.

  Args:
    name: of an entry in PATTERNS.
    grid: (T, h, w), the cells that the pattern counts in.
    order: spec of an entry in ORDERS; None is the pattern's natural order.
    block: tokens in a block; the kernels for TPU need a multiple of 128.
    **options: of the pattern.

  Raises:
    ValueError: what `build_pattern` and ORDERS raise; a grid that is none.
  """
  if len(grid) != 3 or min(grid) < 1:
    raise ValueError(f"grid must be (T, h, w), all positive, got {grid}")
  pattern = build_pattern({"name": name, **options})
  natural = pattern.natural_order()
  order = natural if order is None else ORDERS.build(order)
  return PatternMask(pattern, order, tuple(grid), block)
