"""The attention patterns a config can name, each with its paper."""

import functools
import operator
from collections.abc import Sequence

from trajvit.ops.attention.pattern import Dense, Pattern
from trajvit.ops.attention.patterns.axes import Axial, Grid, Registers
from trajvit.ops.attention.patterns.causal import BlockCausal, FrameCausal
from trajvit.ops.attention.patterns.nested import NestedRegisters
from trajvit.ops.attention.patterns.radial import Radial, RadialRaster
from trajvit.ops.attention.patterns.sequences import (
  AShape,
  Power,
  VerticalSlash,
)
from trajvit.ops.attention.patterns.windows import TileWindow, Window
from trajvit.table import Table

__all__ = [
  "PATTERNS",
  "AShape",
  "Axial",
  "BlockCausal",
  "Dense",
  "FrameCausal",
  "Grid",
  "NestedRegisters",
  "Power",
  "Radial",
  "RadialRaster",
  "Registers",
  "TileWindow",
  "VerticalSlash",
  "Window",
  "build_pattern",
]


def union(of: Sequence[dict]) -> Pattern:
  """What any of several patterns allows; `of` are their specs."""
  return _join("union", operator.or_, of)


def intersection(of: Sequence[dict]) -> Pattern:
  """What all of several patterns allow; `of` are their specs."""
  return _join("intersection", operator.and_, of)


PATTERNS = Table(
  "attention pattern",
  {
    "a_shape": AShape,
    "axial": Axial,
    "block_causal": BlockCausal,
    "dense": Dense,
    "frame_causal": FrameCausal,
    "grid": Grid,
    "intersection": intersection,
    "nested_registers": NestedRegisters,
    "power": Power,
    "radial": Radial,
    "radial_raster": RadialRaster,
    "registers": Registers,
    "tile_window": TileWindow,
    "union": union,
    "vertical_slash": VerticalSlash,
    "window": Window,
  },
)


def build_pattern(spec: dict) -> Pattern:
  """Returns the pattern of a spec such as `{"name": "window", "t": 2}`.

  Patterns are joined by `{"name": "union", "of": [spec, ...]}`, and by
  "intersection" likewise.

  Raises:
    ValueError: an unknown name or argument, or a value the pattern refuses.
  """
  return PATTERNS.build(spec)


def _join(name, operation, of) -> Pattern:
  if not of:
    raise ValueError(f"{name} needs at least one pattern in `of`, got none")
  return functools.reduce(operation, map(build_pattern, of))
