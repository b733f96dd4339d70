"""Patterns of language models, on the index of a token in its sequence.

They were made for causal attention; an encoder looks both ways, so distances
count in both directions here. Join `FrameCausal` to look back only.
"""

import dataclasses

import jax.numpy as jnp

from trajvit.ops.attention.pattern import Pattern
from trajvit.ops.attention.patterns.arithmetic import (
  absolute,
  check_least,
  check_power_of_two,
  classify,
  difference,
  fill_below,
  inside,
  magnitude,
)


@dataclasses.dataclass(frozen=True)
class Power(Pattern):
  """Near blocks, and those at distances that are powers of two.

  PowerAttention, L. Chen et al., arXiv:2503.03588: after n layers a token has
  heard of 2^n blocks. Every tile is full or empty if the mask has these blocks
  and tokens are stored by their index.

  Attributes:
    block: tokens of a block, a power of two.
    window: blocks to either side that are always met.
    sink: how many first blocks every token meets.
  """

  block: int = 128
  window: int = 1
  sink: int = 1

  def __post_init__(self):
    check_power_of_two(self, block=self.block)
    check_least(self, 0, window=self.window, sink=self.sink)

  def allowed(self, query, key):
    """See Pattern."""
    first = self._number(key.index)
    distance = absolute(self._number(query.index) - first)
    near = jnp.minimum(distance - self.window, first - self.sink + 1) <= 0
    return near | (distance & (distance - 1) == 0)

  def classes(self, query, key):
    """See Pattern."""
    first = self._number(key.low.index), self._number(key.high.index)
    low = self._number(query.low.index) - first[1]
    high = self._number(query.high.index) - first[0]
    low, high = magnitude((low, high))
    # The largest power of two up to `high` is above `low` if any is between.
    bits = fill_below(high)
    no_power = (bits - (bits >> 1) < low) & (low > 0)
    empty = (low > self.window) & (first[0] >= self.sink) & no_power
    power = (low == high) & (low & (low - 1) == 0)
    full = (high <= self.window) | (first[1] < self.sink) | power
    return classify(empty, full)

  def _number(self, index):
    return index >> (self.block.bit_length() - 1)


@dataclasses.dataclass(frozen=True)
class AShape(Pattern):
  """The first tokens and the near ones: |i - j| <= window or j < sink.

  The A-shape heads of MInference, H. Jiang et al., arXiv:2407.02490.

  Attributes:
    sink: how many first tokens every token meets.
    window: reach to either side.
  """

  sink: int
  window: int

  def __post_init__(self):
    check_least(self, 0, sink=self.sink, window=self.window)

  def allowed(self, query, key):
    """See Pattern."""
    beyond = absolute(query.index - key.index) - self.window
    return jnp.minimum(beyond, key.index - self.sink + 1) <= 0

  def classes(self, query, key):
    """See Pattern."""
    low, high = magnitude(difference(query, key, "index"))
    first = key.low.index - self.sink + 1, key.high.index - self.sink + 1
    least = jnp.minimum(low - self.window, first[0])
    most = jnp.minimum(high - self.window, first[1])
    return inside((least, most), None, 0)


@dataclasses.dataclass(frozen=True)
class VerticalSlash(Pattern):
  """Some columns and some diagonals: j in columns or i - j in diagonals.

  The vertical-slash heads of MInference, H. Jiang et al., arXiv:2407.02490,
  with lines that are given. It costs a comparison a line in partial tiles, so
  it is for tens of lines.

  Attributes:
    columns: indices of keys that every token meets.
    diagonals: differences "index of the query minus index of the key", of
      either sign; 0 is the token itself.
  """

  columns: tuple[int, ...] = ()
  diagonals: tuple[int, ...] = (0,)

  def __post_init__(self):
    for name in ("columns", "diagonals"):
      lines = tuple(sorted(set(getattr(self, name))))
      object.__setattr__(self, name, lines)
    if not self.columns + self.diagonals:
      raise ValueError("VerticalSlash needs columns or diagonals, got none")
    for line in self.columns:
      check_least(self, 0, column=line)

  def allowed(self, query, key):
    """See Pattern."""
    gap = query.index - key.index
    away = [absolute(key.index - column) for column in self.columns]
    away += [absolute(gap - diagonal) for diagonal in self.diagonals]
    nearest = away[0]
    for line in away[1:]:
      nearest = jnp.minimum(nearest, line)
    return nearest + (gap & 0) == 0

  def classes(self, query, key):
    """See Pattern."""
    columns = _covered((key.low.index, key.high.index), self.columns)
    diagonals = _covered(difference(query, key, "index"), self.diagonals)
    none = (columns[0] | diagonals[0]) == 0
    return classify(none, columns[1] | diagonals[1])


def _covered(interval, lines):
  """How many of `lines` are in an interval, and whether they fill it."""
  low, high = interval
  count = low & 0
  for line in lines:
    count += jnp.where((low <= line) & (line <= high), 1, 0)
  return count, count == high - low + 1
