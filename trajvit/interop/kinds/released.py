"""What the plans of released towers share: their sizes, blocks and units."""

from collections.abc import Callable

import numpy as np

from trajvit.interop.kinds.blocks import linear, norm
from trajvit.interop.layouts import Layout
from trajvit.interop.names import Entry, Unused

# The parts of a `layers.block.Block`.
BLOCK = (
  "norm_attention",
  "attention/query",
  "attention/key",
  "attention/value",
  "attention/out",
  "norm_mlp",
  "mlp/inner",
  "mlp/outer",
)
SAME = (
  "It does as the code that the weights come from, with and without compat."
)
COUNTED = Unused(
  "*position_ids",
  "numbers from 0",
  lambda x: np.arange(x.size).reshape(x.shape),
)


def blocks(
  theirs: str, ours: str, names: tuple[str, ...], *, norms: Callable = norm
) -> list[Entry]:
  """Returns the entries of a stack of blocks.

  Args:
    theirs: what their names begin with, up to the number of the block.
    ours: the stack.
    names: their name of each part, in the order of BLOCK.
    norms: makes the entries of a norm.
  """
  entries = []
  for part, name in zip(BLOCK, names, strict=True):
    make = norms if part.startswith("norm") else linear
    entries += make(f"{theirs}.{{i}}.{name}", f"{ours}/layers/{part}")
  return entries


def prefix(shapes: dict, known: str) -> str:
  """Returns `known` if a name begins with it, else nothing."""
  return known if any(name.startswith(known) for name in shapes) else ""


def heads_of(
  width: int, told: int | None, released: dict[int, int], *, key="num_heads"
) -> int:
  """Returns how many heads of attention there are, which no weight tells.

  Args:
    width: D.
    told: by the config, or None.
    released: width -> heads of the models that were released.
    key: what the config calls it.

  Raises:
    ValueError: it is not known, or does not divide the width.
  """
  found = released.get(width) if told is None else told
  if not found or width % found:
    raise ValueError(
      f"config.{key} must divide the width {width}; got {found}, and known are "
      f"those of the widths {', '.join(map(str, released))}"
    )
  return found


def side_of(cells: int, name: str) -> int:
  """Returns the rows = columns of so many cells.

  Raises:
    ValueError: they are no square.
  """
  side = round(cells**0.5)
  if side * side != cells:
    raise ValueError(f"{name} must be of a square of cells, got {cells}")
  return side


def _map(name, forward, back):
  return Layout(
    name, lambda xs: [forward(x) for x in xs], lambda xs: [back(x) for x in xs]
  )


# The logarithm of a temperature is minus that of the scale it divides by.
NEGATED = _map("negated", lambda x: -x, lambda x: -x)
# One number in an axis of its own.
SCALAR = _map("one number", lambda x: x.reshape(()), lambda x: x.reshape(1))
NEGATED_SCALAR = _map(
  "one number, negated", lambda x: -x.reshape(()), lambda x: -x.reshape(1)
)
