"""Operands of a kernel: which part of an array a program sees, and how.

A kernel works for one block of tokens that *stays* and walks over blocks that
*move*: key blocks for a query block, or the reverse. Moving operands are whole
in VMEM (`Resident`) or come from HBM tile by tile (`Ring`); the kernels do not
know which.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from trajvit.ops.attention.pallas_tpu import rows


@dataclasses.dataclass(frozen=True)
class Operand:
  """An array with a value for every token, or the type of one.

  Attributes:
    array: [b, k, S, d] (`axis` 0) or [b, k, c, S] (`axis` 1), where b divides
      the batch and k the heads: batch i reads b * i // B.
    axis: which of the last two axes is that of the tokens.
  """

  array: jax.Array | jax.ShapeDtypeStruct
  axis: int

  @property
  def tokens(self) -> int:
    """Returns S."""
    return self.array.shape[2 + self.axis]

  def tile(self, tokens: int) -> tuple[int, int]:
    """Returns the shape of a tile of so many tokens."""
    rest = self.array.shape[3 - self.axis]
    return (tokens, rest) if self.axis == 0 else (rest, tokens)

  def share(self, batch, head, grid):
    """Returns the place in the first two axes; `grid` is (B, K, blocks)."""
    b, k = self.array.shape[:2]
    return share(batch, grid[0], b), share(head, grid[1], k)

  def staying(self, grid: tuple[int, int, int]) -> pl.BlockSpec:
    """Returns the spec of the part that a program stays at, of equal ones."""
    tokens = self.tokens // grid[2]

    def place(batch, head, number):
      last = (number, 0) if self.axis == 0 else (0, number)
      return *self.share(batch, head, grid), *last

    return pl.BlockSpec((None, None, *self.tile(tokens)), place)

  def whole(self, grid: tuple[int, int, int]) -> pl.BlockSpec:
    """Returns the spec of all tokens, fetched once per batch and head."""

    def place(batch, head, number):
      del number  # always the same block, so it stays in VMEM
      return *self.share(batch, head, grid), 0, 0

    return pl.BlockSpec((None, None, *self.array.shape[2:]), place)

  def at(self, start, tokens: int) -> tuple:
    """Returns the index of a tile that starts at a token."""
    window = pl.ds(start, tokens)
    everything = slice(None)
    return (window, everything) if self.axis == 0 else (everything, window)


def share(index, size: int, parts: int):
  """Returns which of `parts` equal parts of `size` an index falls into.

  Signed division rounds in ways that ask for the chip, which may be unknown.
  """
  if parts == 1:
    return 0
  return index if parts == size else jax.lax.div(index, size // parts)


class Resident:
  """Reads tiles of references that hold all tokens."""

  def __init__(self, row, operands: dict, references: dict, block: int):
    self._row, self._block = row, block
    self._operands, self._references = operands, references

  def start(self) -> None:
    """Nothing has to come."""

  def fetch(self, position, width: int) -> Callable:
    """Returns `read(name)`, the tiles from a position on, side by side."""

    def read(name):
      operand, reference = self._operands[name], self._references[name]
      tiles = []
      for n in range(width):
        start = rows.block(self._row, position + n) * self._block
        start = pl.multiple_of(start, self._block)
        tiles.append(reference[operand.at(start, self._block)])
      return _side_by_side(tiles, operand.axis)

    return read


class Ring:
  """Copies tiles from HBM into a ring of buffers, ahead of their use.

  A step of `width` tiles frees as many buffers, which the copies of the tiles
  `ahead` of it then fill. All copies belong to this one program, in order, so
  a buffer is never written before it was read.
  """

  def __init__(
    self, row, operands: dict, references: dict, block: int, group: int, grid
  ):
    """Takes references to `scratch` under the names "<name>_ring" and
    "arrivals", besides those to whole arrays."""
    self._row, self._block = row, block
    self._operands, self._references = operands, references
    self._size = ring_size(group)
    self._ahead = self._size - group
    place = pl.program_id(0), pl.program_id(1)
    self._place = {
      name: operand.share(*place, grid) for name, operand in operands.items()
    }

  @staticmethod
  def scratch(operands: dict, block: int, group: int) -> dict:
    """Returns the buffers, and a semaphore for each, by name."""
    size = ring_size(group)
    buffers = {
      f"{name}_ring": pltpu.VMEM(
        (size, *operand.tile(block)), operand.array.dtype
      )
      for name, operand in operands.items()
    }
    arrivals = pltpu.SemaphoreType.DMA((len(operands), size))
    return buffers | {"arrivals": arrivals}

  def start(self) -> None:
    """Starts the first copies."""
    for position in range(self._ahead):
      self._start(position)

  def fetch(self, position, width: int) -> Callable:
    """Returns `read(name)`, the tiles from a position on, once arrived."""
    for n in range(width):
      self._start(position + self._ahead + n)
    for n in range(width):
      for copy in self._copies(position + n):
        copy.wait()

    def read(name):
      buffers = self._references[f"{name}_ring"]
      tiles = [buffers[self._slot(position + n)] for n in range(width)]
      return _side_by_side(tiles, self._operands[name].axis)

    return read

  def _start(self, position):
    @pl.when(position < rows.count(self._row))
    def _():
      for copy in self._copies(position):
        copy.start()

  def _copies(self, position):
    slot = self._slot(position)
    start = rows.block(self._row, position) * self._block
    start = pl.multiple_of(start, self._block)
    for n, (name, operand) in enumerate(self._operands.items()):
      tile = (*self._place[name], *operand.at(start, self._block))
      yield pltpu.make_async_copy(
        self._references[name].at[tile],
        self._references[f"{name}_ring"].at[slot],
        self._references["arrivals"].at[n, slot],
      )

  def _slot(self, position):
    return jax.lax.rem(jnp.int32(position), jnp.int32(self._size))


def ring_size(group: int) -> int:
  """Returns the number of buffers: two steps under way while one computes."""
  return 3 * group


def _side_by_side(tiles, axis):
  return tiles[0] if len(tiles) == 1 else jnp.concatenate(tiles, axis=axis)
