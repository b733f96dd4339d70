"""Patterns along the axes of a clip, and tokens that belong to no place."""

import dataclasses

import jax.numpy as jnp

from trajvit.ops.attention.grids.orders import Phase
from trajvit.ops.attention.pattern import Pattern, both, either
from trajvit.ops.attention.patterns.arithmetic import (
  check_power_of_two,
  classify,
  difference,
  inside,
)


@dataclasses.dataclass(frozen=True)
class Axial(Pattern):
  """The own frame, and the own place in all frames.

  The union of the spatial and the temporal step of axial attention,
  arXiv:1912.12180, in one softmax; it has a step for each axis of a tensor.
  """

  def allowed(self, query, key):
    """See Pattern."""
    frame = query.t == key.t
    return frame | ((query.y == key.y) & (query.x == key.x))

  def classes(self, query, key):
    """See Pattern."""
    t, y, x = (inside(difference(query, key, n), 0, 0) for n in "tyx")
    return either(t, both(y, x))


@dataclasses.dataclass(frozen=True)
class Grid(Pattern):
  """Every t-th frame, y-th row and x-th column, counted from the own.

  MMInference, arXiv:2504.16083, finds such grids on the flat index of video
  tokens, one stride and phase a head; here it is a stride an axis. Strides are
  powers of two, because kernels do not divide. The interval classes cannot see
  a phase: build the mask with `static_mask`, in `Phase` order, where blocks
  lie on the diagonal. Under jit make the phase the segment instead.

  Attributes:
    t: stride in frames, 1 is every frame.
    y: in rows.
    x: in columns.
  """

  t: int = 1
  y: int = 1
  x: int = 1

  def __post_init__(self):
    check_power_of_two(self, t=self.t, y=self.y, x=self.x)

  def natural_order(self):
    """See Pattern."""
    return Phase(self.t, self.y, self.x)

  def allowed(self, query, key):
    """See Pattern."""
    t = (query.t - key.t) & (self.t - 1)
    y = (query.y - key.y) & (self.y - 1)
    x = (query.x - key.x) & (self.x - 1)
    return (t | y | x) == 0

  def classes(self, query, key):
    """See Pattern."""

    def axis(name, stride):
      low, high = difference(query, key, name)
      last = high & -stride  # the largest multiple of the stride up to high
      every = (low == high) | (stride == 1)
      return classify(last < low, every)

    return both(axis("t", self.t), both(axis("y", self.y), axis("x", self.x)))


@dataclasses.dataclass(frozen=True)
class Registers(Pattern):
  """Register and class tokens meet every token, and every token meets them.

  To be joined to a local pattern: `Window(t=1) | Registers()`. Registers are
  those of arXiv:2309.16588.
  """

  def allowed(self, query, key):
    """See Pattern."""
    return jnp.maximum(query.register, key.register) > 0

  def classes(self, query, key):
    """See Pattern."""
    none = jnp.maximum(query.high.register, key.high.register) == 0
    every = jnp.maximum(query.low.register, key.low.register) > 0
    return classify(none, every)
