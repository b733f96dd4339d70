"""Radial Attention: reach in space that halves as distance in time doubles.

Source: X. Li et al., arXiv:2506.19852, and its released code. Tokens at most
one frame apart always meet. For d > 1 frames the reach is divided by
2^floor(log2 d); where it would fall below a minimum it stays there, and frames
are thinned out at the same rate instead.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.attention.pattern import Pattern
from trajvit.ops.attention.patterns.arithmetic import (
  absolute,
  check_least,
  check_power_of_two,
  classify,
  difference,
  fill_below,
  magnitude,
)

# The gap in frames is at most this often the number of the key's frame, so it
# is 0 for the first frame: then all see it. Below 2^15 frames it is exact.
SINK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Radial(Pattern):
  """Radial Attention with distances in the image: max(|dy|, |dx|).

  The rule of this file; the paper measures along the raster of a frame, see
  RadialRaster. The paper thins out frames by rounding up minimum / reach, here
  it is rounded up to a power of two, because kernels do not divide.

  Attributes:
    radius: reach in tokens at one frame's distance; max(h, w) halves it
      first at two frames.
    minimum: the smallest reach.
    sink: whether every token meets those of frame 0.
  """

  radius: int
  minimum: int = 1
  sink: bool = True

  def __post_init__(self):
    check_least(self, 1, radius=self.radius, minimum=self.minimum)
    if self.minimum > self.radius:
      raise ValueError(
        f"Radial needs minimum <= radius {self.radius}, got {self.minimum}"
      )

  def allowed(self, query, key):
    """See Pattern."""
    rows = absolute(query.y - key.y)
    columns = absolute(query.x - key.x)
    distance = jnp.maximum(rows, columns)
    gap = _gap(query, key, self.sink)
    return _allowed(gap, distance, self._reaches(), self._unthinned())

  def classes(self, query, key):
    """See Pattern."""
    rows = magnitude(difference(query, key, "y"))
    columns = magnitude(difference(query, key, "x"))
    distance = tuple(map(jnp.maximum, rows, columns))
    gap = _gap_interval(query, key, self.sink)
    return _classes(gap, distance, self._reaches(), self._unthinned())

  def _unthinned(self) -> int:
    return (self.radius // self.minimum).bit_length() - 1

  def _reaches(self) -> list[int]:
    halved = [self.radius >> n for n in range(self._unthinned() + 1)]
    return [*halved, self.minimum]


@dataclasses.dataclass(frozen=True)
class RadialRaster(Pattern):
  """Radial Attention as released: distances along the raster of a frame.

  With n tokens a frame, the reach at one frame's distance is `decay` times the
  largest power of two up to n, and `block` is the smallest reach; thinning
  does not depend on `decay`. The released code then drops blocks that the rule
  fills badly, here all that it touches are computed.

  Attributes:
    height: h, rows of a frame.
    width: w, columns.
    block: the smallest reach, a power of two up to h * w.
    decay: scales the reach.
    sink: whether every token meets those of frame 0.
  """

  height: int
  width: int
  block: int = 128
  decay: float = 1.0
  sink: bool = True

  def __post_init__(self):
    check_least(self, 1, height=self.height, width=self.width)
    check_power_of_two(self, block=self.block)
    if self.block > self.height * self.width:
      raise ValueError(
        f"RadialRaster needs block <= height * width = "
        f"{self.height * self.width}, got {self.block}"
      )
    if not 0 < self.decay <= 1:
      raise ValueError(f"RadialRaster needs decay in (0, 1], got {self.decay}")

  def allowed(self, query, key):
    """See Pattern."""
    distance = absolute(self._place(query) - self._place(key))
    gap = _gap(query, key, self.sink)
    return _allowed(gap, distance, self._reaches(), self._unthinned())

  def classes(self, query, key):
    """See Pattern."""
    low = self._place(query.low) - self._place(key.high)
    high = self._place(query.high) - self._place(key.low)
    distance = magnitude((low, high))
    gap = _gap_interval(query, key, self.sink)
    return _classes(gap, distance, self._reaches(), self._unthinned())

  def _place(self, coordinates) -> jax.Array:
    return coordinates.y * self.width + coordinates.x

  def _bits(self) -> int:
    return (self.height * self.width).bit_length() - 1

  def _unthinned(self) -> int:
    return self._bits() - (self.block.bit_length() - 1)

  def _reaches(self) -> list[int]:
    halved = [self.decay * 2**n for n in range(self._bits(), -1, -1)]
    return [*(int(r) for r in halved if r > self.block), self.block]


def _gap(query, key, sink: bool) -> jax.Array:
  """Frames between tokens, 0 to a first frame that all see."""
  gap = absolute(query.t - key.t)
  return jnp.minimum(gap, key.t * SINK) if sink else gap


def _gap_interval(query, key, sink: bool) -> tuple:
  gap = magnitude(difference(query, key, "t"))
  if not sink:
    return gap
  first = key.low.t * SINK, key.high.t * SINK
  return tuple(map(jnp.minimum, gap, first))


def _reach(gap, reaches: list[int]) -> jax.Array:
  """Entry n of `reaches` where 2^n <= gap < 2^(n + 1), the last one beyond."""
  reach = reaches[0] + (gap & 0)
  for n, halved in enumerate(reaches[1:], start=1):
    reach = jnp.where(gap >= 1 << n, halved, reach)
  return reach


def _thinned(gap, unthinned: int) -> jax.Array:
  """Where a frame is left out: with n = floor(log2 gap) above `unthinned`, only
  gaps divisible by 2^(n - unthinned) stay."""
  return (gap & (fill_below(gap) >> (unthinned + 1))) != 0


def _allowed(gap, distance, reaches, unthinned) -> jax.Array:
  near = (distance <= _reach(gap, reaches)) & ~_thinned(gap, unthinned)
  return (gap <= 1) | near


def _classes(gap, distance, reaches, unthinned) -> jax.Array:
  beyond = distance[0] > _reach(gap[0], reaches)
  one_thinned = (gap[0] == gap[1]) & _thinned(gap[0], unthinned)
  empty = (gap[0] > 1) & (beyond | one_thinned)
  within = distance[1] <= _reach(gap[1], reaches)
  unbroken = fill_below(gap[1]) >> (unthinned + 1) == 0
  one_kept = (gap[0] == gap[1]) & ~_thinned(gap[0], unthinned)
  full = (gap[1] <= 1) | (within & (unbroken | one_kept))
  return classify(empty, full)
