"""What an attention pattern is, and how two of them are joined.

A pattern says which pairs of tokens may meet, from their coordinates alone. It
answers twice: exactly, for a pair of tokens, and cheaply, for a pair of blocks
of which only the ranges of the coordinates are known. The second answer may be
PARTIAL where the truth is EMPTY or FULL, never the other way round, because in
a partial tile the first answer is asked again.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.grids.orders import Order, Raster

# Classes of a tile, a (query block, key block) rectangle of the logits.
EMPTY, FULL, PARTIAL = 0, 1, 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bounds:
  """Ranges of the coordinates of the real tokens of each block.

  Attributes:
    low: Coordinates whose arrays are [B, n], the minimum in a block.
    high: the maximum.
  """

  low: Coordinates
  high: Coordinates


@dataclasses.dataclass(frozen=True)
class Pattern:
  """Which pairs of tokens may meet; immutable and hashable.

  `a & b` allows what both do, `a | b` what either does.
  """

  def allowed(self, query: Coordinates, key: Coordinates) -> jax.Array:
    """Returns bool, whether each pair may meet.

    It runs inside kernels: only +, -, products with constants, comparisons,
    minimum, maximum and bit operations, on int32. A condition on the query or
    on the key alone is made one on the pair before it is compared, as kernels
    do not broadcast booleans.

    Args:
      query: arrays that broadcast against those of `key`, a column against a
        row for instance.
      key: likewise.
    """
    raise NotImplementedError

  def classes(self, query: Bounds, key: Bounds) -> jax.Array:
    """Returns int32, EMPTY, FULL or PARTIAL for each pair of blocks.

    Args:
      query: ranges that broadcast against those of `key`.
      key: likewise.
    """
    raise NotImplementedError

  def natural_order(self) -> Order:
    """Returns the order of tokens that the pattern is meant for."""
    return Raster()

  def __and__(self, other: "Pattern") -> "Pattern":
    return Intersection(self, other)

  def __or__(self, other: "Pattern") -> "Pattern":
    return Union(self, other)


@dataclasses.dataclass(frozen=True)
class Dense(Pattern):
  """Every token meets every token of its segment."""

  def allowed(self, query, key):
    """See Pattern."""
    return (query.segment == query.segment) & (key.segment == key.segment)

  def classes(self, query, key):
    """See Pattern."""
    return FULL + 0 * (query.low.segment + key.low.segment)


@dataclasses.dataclass(frozen=True)
class Intersection(Pattern):
  """What both patterns allow."""

  first: Pattern
  second: Pattern

  def natural_order(self):
    """Returns that of the first pattern."""
    return self.first.natural_order()

  def allowed(self, query, key):
    """See Pattern."""
    return self.first.allowed(query, key) & self.second.allowed(query, key)

  def classes(self, query, key):
    """See Pattern."""
    return both(self.first.classes(query, key), self.second.classes(query, key))


@dataclasses.dataclass(frozen=True)
class Union(Pattern):
  """What either pattern allows."""

  first: Pattern
  second: Pattern

  def natural_order(self):
    """Returns that of the first pattern."""
    return self.first.natural_order()

  def allowed(self, query, key):
    """See Pattern."""
    return self.first.allowed(query, key) | self.second.allowed(query, key)

  def classes(self, query, key):
    """See Pattern."""
    return either(
      self.first.classes(query, key), self.second.classes(query, key)
    )


def both(first: jax.Array, second: jax.Array) -> jax.Array:
  """Returns the classes of an intersection: FULL where both are."""
  empty = (first == EMPTY) | (second == EMPTY)
  full = (first == FULL) & (second == FULL)
  return jnp.where(empty, EMPTY, jnp.where(full, FULL, PARTIAL))


def either(first: jax.Array, second: jax.Array) -> jax.Array:
  """Returns the classes of a union: EMPTY where both are."""
  empty = (first == EMPTY) & (second == EMPTY)
  full = (first == FULL) | (second == FULL)
  return jnp.where(empty, EMPTY, jnp.where(full, FULL, PARTIAL))
