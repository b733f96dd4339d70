"""Compiled programs, read from the text that XLA prints of them.

XLA's own cost analysis counts a loop once. The text has the loops, with what
tells how often each runs.
"""

import dataclasses
import re
from collections.abc import Iterator

_WIDTHS = {
  "pred": 1,
  "token": 0,
  "opaque": 0,
  "bf16": 2,
  "s4": 0.5,
  "u4": 0.5,
  "c64": 8,
  "c128": 16,
}
_ARRAY = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_NAMED = re.compile(r"^(ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(
  r"\b(?:calls|to_apply|body|async_execution_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line.

  Attributes:
    name: unique in its computation.
    type: of the result, as XLA writes it.
    op: such as "fusion".
    operands: names of instructions.
    attributes: what follows the operands.
    is_root: whether it is the result of its computation.
  """

  name: str
  type: str
  op: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool = False

  @property
  def called(self) -> tuple[str, ...]:
    """Names of the computations that it runs, that of a condition aside."""
    names = _CALLED.findall(self.attributes)
    for branches in _BRANCHES.findall(self.attributes):
      names += [name.strip().lstrip("%") for name in branches.split(",")]
    return tuple(names)

  def attribute(self, pattern: str) -> str | None:
    """Returns the first group of a pattern in the attributes, or None."""
    found = re.search(pattern, self.attributes)
    return found[1] if found else None


@dataclasses.dataclass(frozen=True)
class Program:
  """All computations of a program.

  Attributes:
    computations: {name: {name of an instruction: it}}, in order.
    entry: name of the computation that is run.
    partitions: devices that run it.
  """

  computations: dict[str, dict[str, Instruction]]
  entry: str
  partitions: int

  def steps(self) -> Iterator[tuple[Instruction, str, int]]:
    """Yields what devices do one after the other, and how often.

    Each is (instruction, name of its computation, times). Loops and calls are
    replaced by what they run, each branch of a choice counts; what fusions and
    asynchronous calls hold is part of them.
    """
    yield from self._steps(self.entry, 1)

  def _steps(self, name, times):
    for each in self.computations[name].values():
      inside = each.op in ("while", "call", "conditional")
      if not inside:
        yield each, name, times
        continue
      trips = self.trips(each) if each.op == "while" else 1
      for called in each.called:
        yield from self._steps(called, times * trips)

  def trips(self, loop: Instruction) -> int:
    """Returns how often a loop runs: its known count, else its limit, else 1.

    The limit is the largest number that the condition compares with: that of a
    scan is its length.
    """
    known = loop.attribute(r'known_trip_count":\{"n":"(\d+)"')
    if known:
      return int(known)
    condition = self.computations.get(
      loop.attribute(r"\bcondition=%?([\w.\-]+)") or "", {}
    )
    limits = [
      int(each.operands[0])
      for each in condition.values()
      if each.op == "constant" and each.operands[0].isdigit()
    ]
    return max(limits, default=1)


def parse(text: str) -> Program:
  """Returns a program from its text.

  Args:
    text: of `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: no computation to run is in it.
  """
  computations, entry, inside = {}, None, None
  for line in text.splitlines():
    head = _HEAD.match(line)
    if head:
      inside = computations.setdefault(head[2], {})
      entry = head[2] if head[1] else entry
    elif line.startswith("}"):
      inside = None
    elif inside is not None and (named := _NAMED.match(line.strip())):
      each = _instruction(named[2], named[3], bool(named[1]))
      inside[each.name] = each
  if entry is None:
    raise ValueError(f"no ENTRY in the text of a program: {text[:80]!r}")
  count = re.search(r"\bnum_partitions=(\d+)", text)
  return Program(computations, entry, int(count[1]) if count else 1)


def num_bytes(of_type: str, *, hbm_only: bool = False) -> int:
  """Returns the bytes of all arrays in a type.

  Args:
    of_type: such as "(bf16[8,128]{1,0:T(8,128)S(1)}, s32[])".
    hbm_only: whether to leave out what lies elsewhere, such as in the chip's
      own memory S(1).
  """
  total = 0.0
  for kind, shape, layout in _ARRAY.findall(of_type):
    if hbm_only and re.search(r"S\([1-9]\d*\)", layout):
      continue
    size = _WIDTHS.get(kind) or int(re.sub(r"\D.*", "", kind[1:]) or 0) / 8
    if kind.startswith("f8"):
      size = 1
    for length in filter(None, shape.split(",")):
      size *= int(length)
    total += size
  return int(total)


def parts(of_type: str) -> list[str]:
  """Returns the members of a tuple's type, or the type itself in a list."""
  if not of_type.startswith("("):
    return [of_type]
  inner = of_type[1 : _closing(of_type, 0)]
  members, depth, start = [], 0, 0
  for i, char in enumerate(inner):
    depth += char in "([{"
    depth -= char in ")]}"
    if char == "," and depth == 0:
      members.append(inner[start:i].strip())
      start = i + 1
  return [*members, inner[start:].strip()]


def _instruction(name, rest, is_root):
  end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
  of_type, rest = rest[:end], rest[end:].strip()
  opening = rest.index("(")
  closing = _closing(rest, opening)
  held = rest[opening + 1 : closing]
  op = rest[:opening]
  operands = re.findall(r"%([\w.\-]+)", held)
  if not operands:  # a constant's value, a parameter's number, or plain names
    operands = [each.strip().split(" ")[-1] for each in held.split(",")]
  return Instruction(
    name, of_type, op, tuple(operands), rest[closing + 1 :], is_root
  )


def _closing(text, opening):
  """Where the parenthesis at `opening` is closed."""
  depth = 0
  for i in range(opening, len(text)):
    depth += text[i] == "("
    depth -= text[i] == ")"
    if depth == 0:
      return i
  raise ValueError(f"unbalanced parentheses in {text[:80]!r}")
