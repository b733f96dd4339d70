"""Tables of names: which array of a PyTorch model is which of ours.

A table says it once, for both directions:

  Entry("layer.{i}.query.weight", "params/blocks/layers/query/kernel", MATRIX)

`{i}` stands for a number. One that only their name has counts along the leading
axis of our array, on which a `Stack` keeps its layers. Our names are those of a
packed run: "params/encoder/norm/scale".
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from trajvit.interop.layouts import KEEP, Layout

_INDEX = re.compile(r"{(\w+)}")


@dataclasses.dataclass(frozen=True)
class Entry:
  """Arrays that are the same.

  Attributes:
    theirs: a name pattern, or several whose arrays are ours together.
    ours: likewise. Its indices are among those of `theirs`, which may have one
      more.
    layout: how their numbers lie in ours.
  """

  theirs: str | tuple[str, ...]
  ours: str | tuple[str, ...]
  layout: Layout = KEEP


@dataclasses.dataclass(frozen=True)
class Unused:
  """Arrays of theirs that our model does not read.

  They are carried along, so that the way back gives all that there was.

  Attributes:
    theirs: a name pattern, in which `*` stands for anything.
    reason: why not, for people.
    expected: what such an array must hold, to rounding; None = anything.
    within: how far rounding may be from it, beside 1e-5 of the number.
  """

  theirs: str
  reason: str
  expected: Callable[[np.ndarray], np.ndarray] | None = None
  within: float = 1e-8


@dataclasses.dataclass(frozen=True)
class Copy:
  """An array of theirs that is another one over again.

  Attributes:
    theirs: what its name begins with.
    of: what the name of the other one begins with.
  """

  theirs: str
  of: str


@dataclasses.dataclass(frozen=True)
class NameTable:
  """All arrays of two models.

  Attributes:
    entries: what is the same. No name of ours is in two of them.
    unused: what only they have; no entry gets those.
    copies: what they have twice.
    fresh: {name of ours that theirs have no word for: reason}; it keeps its
      initial value.
    spelled: {name in this table: name in the file} of theirs that are not the
      same.
  """

  entries: Sequence[Entry]
  unused: Sequence[Unused] = ()
  copies: Sequence[Copy] = ()
  fresh: Mapping[str, str] = dataclasses.field(default_factory=dict)
  spelled: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Match:
  """An entry with numbers for its indices.

  Attributes:
    theirs: a row of names for each layer of a stack, else one row.
    ours: names.
    layout: of the entry.
    stacked: whether the rows are the layers of a stack.
  """

  theirs: list[list[str]]
  ours: list[str]
  layout: Layout
  stacked: bool


def matches(
  table: NameTable, leaves: Mapping[str, np.ndarray]
) -> Iterator[Match]:
  """Yields every entry with the numbers that our names have.

  Args:
    table: of both models.
    leaves: ours by name, or their shapes and dtypes.
  """
  for entry in table.entries:
    theirs, ours = _several(entry.theirs), _several(entry.ours)
    here = set(_INDEX.findall(ours[0]))
    over = sorted({x for name in theirs for x in _INDEX.findall(name)} - here)
    if len(over) > 1:
      raise ValueError(f"{entry.theirs}: one index is stacked, got {over}")
    pattern = re.compile(
      _INDEX.sub(r"(?P<\1>\\d+)", ours[0].replace(".", r"\."))
    )
    for name in leaves:
      match = pattern.fullmatch(name)
      if match is None:
        continue
      numbers = match.groupdict()
      layers = range(leaves[name].shape[0]) if over else [0]
      yield Match(
        theirs=[
          [x.format(**numbers, **dict.fromkeys(over, layer)) for x in theirs]
          for layer in layers
        ],
        ours=[x.format(**numbers) for x in ours],
        layout=entry.layout,
        stacked=bool(over),
      )


def origin(table: NameTable, name: str) -> str | None:
  """Returns what an array of theirs is a copy of, by name, or None."""
  for copy in table.copies:
    if name.startswith(copy.theirs):
      return copy.of + name.removeprefix(copy.theirs)
  return None


def _several(names):
  return (names,) if isinstance(names, str) else tuple(names)
