"""Local windows in space and time, of tokens and of whole tiles."""

import dataclasses
import functools
import operator

import jax.numpy as jnp

from trajvit.ops.attention.grids.orders import Tile
from trajvit.ops.attention.pattern import Bounds, Pattern, both
from trajvit.ops.attention.patterns.arithmetic import (
  as_grid,
  check_least,
  inside,
  quotient,
)

AXES = ("t", "y", "x")


@dataclasses.dataclass(frozen=True)
class Window(Pattern):
  """Tokens near in time and space: |dt| <= t, |dy| <= y and |dx| <= x.

  With `clamped`, the window of a token at the border is shifted inwards, so
  that every token reads equally many: Neighborhood Attention, arXiv:2204.07143.

  Attributes:
    t: reach in frames; None is all of the axis.
    y: in rows.
    x: in columns.
    clamped: the grid (T, h, w) to stay in, or None.
  """

  t: int | None = None
  y: int | None = None
  x: int | None = None
  clamped: tuple[int, int, int] | None = None

  def __post_init__(self):
    check_least(self, 0, t=self.t, y=self.y, x=self.x)
    if not self._reaches():
      raise ValueError("Window needs a reach in t, y or x, got none")
    if self.clamped is not None:
      grid = as_grid(self, "clamped", self.clamped)
      object.__setattr__(self, "clamped", grid)

  def allowed(self, query, key):
    """See Pattern."""
    query = self._centers(query)
    near = []
    for name, reach in self._reaches().items():
      gap = getattr(query, name) - getattr(key, name)
      near.append((gap <= reach) & (gap >= -reach))
    return functools.reduce(operator.and_, near)

  def classes(self, query, key):
    """See Pattern."""
    query = Bounds(self._centers(query.low), self._centers(query.high))
    near = []
    for name, reach in self._reaches().items():
      low = getattr(query.low, name) - getattr(key.high, name)
      high = getattr(query.high, name) - getattr(key.low, name)
      near.append(inside((low, high), -reach, reach))
    return functools.reduce(both, near)

  def _reaches(self) -> dict[str, int]:
    reaches = {name: getattr(self, name) for name in AXES}
    return {name: n for name, n in reaches.items() if n is not None}

  def _centers(self, query):
    """Where windows are centred: the tokens, pushed in from the border.

    On an axis shorter than the window that is a place from which it covers all.
    """
    if self.clamped is None:
      return query
    sizes = dict(zip(AXES, self.clamped, strict=True))
    centers = {}
    for name, reach in self._reaches().items():
      center = jnp.maximum(getattr(query, name), reach)
      centers[name] = jnp.minimum(center, sizes[name] - 1 - reach)
    return dataclasses.replace(query, **centers)


@dataclasses.dataclass(frozen=True)
class TileWindow(Pattern):
  """A window that moves tile by tile: Sliding Tile Attention, arXiv:2502.04507.

  Tokens meet if their tiles are near. Stored in `Tile` order, in blocks of the
  tokens of one tile, every tile of the logits that is visited is full.

  Attributes:
    tile: (frames, rows, columns) of a tile, up to 256; any, as kernels divide
      by multiplying, which is exact for coordinates below 4096.
    t: reach in tiles; None is all of the axis.
    y: likewise.
    x: likewise.
    clamped: the grid (T, h, w) of tokens to stay in, as in Window, or None.
  """

  tile: tuple[int, int, int] = (4, 4, 8)
  t: int | None = 1
  y: int | None = 1
  x: int | None = 1
  clamped: tuple[int, int, int] | None = None

  def __post_init__(self):
    object.__setattr__(self, "tile", as_grid(self, "tile", self.tile))
    if max(self.tile) > 256:
      raise ValueError(f"TileWindow takes tiles up to 256, got {self.tile}")
    if self.clamped is not None:
      grid = as_grid(self, "clamped", self.clamped)
      object.__setattr__(self, "clamped", grid)
    self._window()

  def natural_order(self):
    """See Pattern."""
    return Tile(*self.tile)

  def allowed(self, query, key):
    """See Pattern."""
    return self._window().allowed(self._tiles(query), self._tiles(key))

  def classes(self, query, key):
    """See Pattern."""
    query, key = (
      Bounds(self._tiles(x.low), self._tiles(x.high)) for x in (query, key)
    )
    return self._window().classes(query, key)

  def _window(self) -> Window:
    """The same window in units of tiles."""
    tiles = self.clamped
    if tiles is not None:
      sizes = zip(tiles, self.tile, strict=True)
      tiles = tuple(-(-length // size) for length, size in sizes)
    return Window(self.t, self.y, self.x, clamped=tiles)

  def _tiles(self, coordinates):
    sizes = zip(AXES, self.tile, strict=True)
    tiles = {n: quotient(getattr(coordinates, n), size) for n, size in sizes}
    return dataclasses.replace(coordinates, **tiles)
