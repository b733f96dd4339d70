"""The rule of every pattern for one pair of tokens, in plain Python integers.

Written from the papers, with division and remainders, and without a look at
the kernels' arithmetic.
"""

import functools
import math

import numpy as np

from trajvit.ops.attention import Coordinates
from trajvit.ops.attention.pattern import Dense, Intersection, Union
from trajvit.ops.attention.patterns import (
  AShape,
  Axial,
  BlockCausal,
  FrameCausal,
  Grid,
  NestedRegisters,
  Power,
  Radial,
  RadialRaster,
  Registers,
  TileWindow,
  VerticalSlash,
  Window,
)

FIELDS = ("segment", "t", "y", "x", "register", "index")

PATTERNS = [
  Dense(),
  Window(t=1),
  Window(t=0, y=1, x=2),
  Window(y=1, x=1),
  Window(t=1, y=2, x=2, clamped=(5, 6, 7)),
  Window(t=4, y=5, x=5, clamped=(5, 6, 7)),
  TileWindow((2, 2, 4)),
  TileWindow((2, 3, 3), t=0, y=1, x=None),
  TileWindow((1, 2, 3), t=1, y=1, x=1, clamped=(5, 6, 7)),
  FrameCausal(),
  FrameCausal(window=1),
  BlockCausal(2),
  BlockCausal(3, window=0),
  Axial(),
  Grid(t=1, y=4, x=2),
  Grid(t=2),
  Registers(),
  NestedRegisters(),
  NestedRegisters("none", "all", "none", "all"),
  NestedRegisters("all", "none", "all", "none"),
  Radial(3),
  Radial(4, minimum=2, sink=False),
  Radial(5, minimum=3),
  RadialRaster(6, 7, block=4),
  RadialRaster(6, 7, block=8, decay=0.5, sink=False),
  RadialRaster(6, 7, block=32, sink=False),
  Power(4),
  Power(8, window=0, sink=0),
  Power(2, window=5, sink=2),
  AShape(sink=3, window=9),
  AShape(sink=0, window=0),
  VerticalSlash(columns=(0, 17, 18, 19, 20), diagonals=(0, -3, 40)),
  VerticalSlash(columns=tuple(range(24)), diagonals=()),
  VerticalSlash(diagonals=tuple(range(-9, 10))),
  Window(t=1, y=1) | Registers(),
  FrameCausal() & Window(y=1, x=1) | Registers(),
  (Axial() | AShape(2, 5)) & BlockCausal(2),
]


@functools.singledispatch
def meets(pattern, q, k) -> bool:
  """Whether token `q` may read token `k`, dictionaries of FIELDS."""
  raise NotImplementedError(pattern)


@meets.register
def _(pattern: Dense, q, k):
  return True


@meets.register
def _(pattern: Union, q, k):
  return meets(pattern.first, q, k) or meets(pattern.second, q, k)


@meets.register
def _(pattern: Intersection, q, k):
  return meets(pattern.first, q, k) and meets(pattern.second, q, k)


@meets.register
def _(pattern: Window, q, k):
  reaches = pattern.t, pattern.y, pattern.x
  sizes = pattern.clamped or (None,) * 3
  return all(
    near(q[axis], k[axis], reach, size)
    for axis, reach, size in zip("tyx", reaches, sizes, strict=True)
  )


@meets.register
def _(pattern: TileWindow, q, k):
  reaches = pattern.t, pattern.y, pattern.x
  grid = pattern.clamped or (None,) * 3
  return all(
    near(
      q[axis] // tile,
      k[axis] // tile,
      reach,
      size and math.ceil(size / tile),
    )
    for axis, tile, reach, size in zip(
      "tyx", pattern.tile, reaches, grid, strict=True
    )
  )


def near(q, k, reach, size):
  """In the window around q, which is moved to lie in [0, size) if it can."""
  if reach is None:
    return True
  first = q - reach
  if size is not None:
    first = max(0, min(first, size - (2 * reach + 1)))
  return first <= k <= first + 2 * reach


@meets.register
def _(pattern: FrameCausal, q, k):
  window = math.inf if pattern.window is None else pattern.window
  return k["t"] <= q["t"] <= k["t"] + window


@meets.register
def _(pattern: BlockCausal, q, k):
  window = math.inf if pattern.window is None else pattern.window
  q, k = q["t"] // pattern.frames, k["t"] // pattern.frames
  return k <= q <= k + window


@meets.register
def _(pattern: Axial, q, k):
  return q["t"] == k["t"] or (q["y"], q["x"]) == (k["y"], k["x"])


@meets.register
def _(pattern: Grid, q, k):
  strides = pattern.t, pattern.y, pattern.x
  return all(
    q[axis] % stride == k[axis] % stride
    for axis, stride in zip("tyx", strides, strict=True)
  )


@meets.register
def _(pattern: Registers, q, k):
  return q["register"] == 1 or k["register"] == 1


@meets.register
def _(pattern: NestedRegisters, q, k):
  registers = q["register"], k["register"]
  if q["t"] == k["t"]:
    return not k["register"] or (q["register"] and k["index"] <= q["index"])
  if q["t"] < k["t"]:
    return False
  reads = {
    (0, 0): pattern.patch_reads_patches,
    (0, 1): pattern.patch_reads_registers,
    (1, 0): pattern.register_reads_patches,
    (1, 1): pattern.register_reads_registers,
  }[registers]
  return reads == "all" or (reads == "causal" and k["index"] <= q["index"])


@meets.register
def _(pattern: Radial, q, k):
  gap = abs(q["t"] - k["t"])
  if gap <= 1 or (pattern.sink and k["t"] == 0):
    return True
  reach = pattern.radius / 2 ** math.floor(math.log2(gap))
  distance = max(abs(q["y"] - k["y"]), abs(q["x"] - k["x"]))
  if reach >= pattern.minimum:
    return distance <= reach
  every = 2 ** math.ceil(math.log2(pattern.minimum / reach))
  return distance <= pattern.minimum and gap % every == 0


@meets.register
def _(pattern: RadialRaster, q, k):
  gap = abs(q["t"] - k["t"])
  if gap <= 1 or (pattern.sink and k["t"] == 0):
    return True
  frame = pattern.height * pattern.width
  decayed = 2 ** frame.bit_length() / 2 ** gap.bit_length()
  reach = max(decayed * pattern.decay, pattern.block)
  place = [token["y"] * pattern.width + token["x"] for token in (q, k)]
  if abs(place[0] - place[1]) > reach:
    return False
  return decayed >= pattern.block or gap % int(pattern.block / decayed) == 0


@meets.register
def _(pattern: Power, q, k):
  q, k = q["index"] // pattern.block, k["index"] // pattern.block
  powers = [2**n for n in range(16)]
  distance = abs(q - k)
  local = distance <= pattern.window or distance == 0
  return local or k < pattern.sink or distance in powers


@meets.register
def _(pattern: AShape, q, k):
  near = abs(q["index"] - k["index"]) <= pattern.window
  return near or k["index"] < pattern.sink


@meets.register
def _(pattern: VerticalSlash, q, k):
  on_diagonal = q["index"] - k["index"] in pattern.diagonals
  return on_diagonal or k["index"] in pattern.columns


def clip(grid, registers, segment=0):
  """The tokens of one clip in raster order, registers in front, [N, 6]."""
  t, y, x = np.indices(grid).reshape(3, -1)
  zeros = np.zeros_like(t)
  patches = [zeros + segment, t, y, x, zeros, np.arange(len(t))]
  front = np.zeros((6, registers), int)
  front[FIELDS.index("segment")] = segment
  front[FIELDS.index("register")] = 1
  return np.concatenate([front, patches], axis=1).T


def packed_rows() -> np.ndarray:
  """[2, 215, 6]: a row of one clip, a row of two, each with padding behind."""
  rows = [
    clip((5, 6, 7), registers=2),
    np.concatenate(
      [clip((3, 5, 6), registers=1), clip((4, 5, 6), 0, segment=1)]
    ),
  ]
  filled = np.zeros((2, 215, 6), int)
  filled[..., FIELDS.index("segment")] = -1
  for row, tokens in zip(filled, rows, strict=True):
    row[: len(tokens)] = tokens
  return filled


def coordinates(tokens: np.ndarray) -> Coordinates:
  """Coordinates [B, N] of [B, N, 6] in the order of FIELDS."""
  return Coordinates(*np.moveaxis(tokens, -1, 0).astype(np.int32))


def allowed(pattern, tokens: np.ndarray) -> np.ndarray:
  """[B, N, N] bool, one pair at a time."""
  batch, length, _ = tokens.shape
  result = np.zeros((batch, length, length), bool)
  for row, out in zip(tokens.tolist(), result, strict=True):
    row = [dict(zip(FIELDS, token, strict=True)) for token in row]
    for i, q in enumerate(row):
      for j, k in enumerate(row):
        if q["segment"] == k["segment"] >= 0:
          out[i, j] = meets(pattern, q, k)
  return result


@functools.cache
def allowed_in_packed_rows(pattern) -> np.ndarray:
  """`allowed` of `packed_rows`, computed once."""
  return allowed(pattern, packed_rows())
