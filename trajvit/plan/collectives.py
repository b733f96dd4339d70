"""What devices say to each other in a step: kind, group, count and size."""

import dataclasses
import math
import re
from collections.abc import Iterator

from trajvit.plan.hlo import Instruction, Program, num_bytes, parts

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "ragged-all-to-all",
  "collective-permute",
  "collective-broadcast",
)
_SUFFIX = re.compile(r"-(start|update|done)$")


@dataclasses.dataclass(frozen=True)
class Collective:
  """Collectives of a kind, over groups of a size.

  Attributes:
    kind: one of KINDS.
    group: devices in a group.
    count: how many of them a step has.
    bytes: of all of them together on a device: the whole array, as it is after
      it was gathered or before it was scattered.
  """

  kind: str
  group: int
  count: int
  bytes: int


def collectives(program: Program) -> list[Collective]:
  """Returns the collectives of a step, those that move most first.

  Groups of one device say nothing and are left out.
  """
  found = {}
  for key, kind, group, size, times in _each(program):
    # Pieces of one asynchronous collective have the same channel.
    known = found.get(key)
    if known is None or times > known[-1]:
      found[key] = kind, group, size, times
  totals = {}
  for kind, group, size, times in found.values():
    if group > 1:
      count, moved = totals.get((kind, group), (0, 0))
      totals[kind, group] = count + times, moved + size * times
  listed = [Collective(*key, *value) for key, value in totals.items()]
  return sorted(listed, key=lambda each: (-each.bytes, each.kind, each.group))


def group_size(attributes: str, partitions: int) -> int:
  """Returns the devices in a group of a collective.

  Args:
    attributes: of the instruction; groups may be listed, {{0,1},{2,3}}, made by
      iota, [2,4]<=[8], or axes of a mesh, mesh['x'=2,'y'=4] {'y'}.
    partitions: devices in all, which are one group where none is named.
  """
  # Axes, each whole or a part of the size that follows its position: 'x':(1)2.
  mesh = re.search(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(.*?\))? \{([^}]*)\}",
    attributes,
  )
  if mesh:
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
    axes = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
    return math.prod(int(part or sizes[axis]) for axis, part in axes)
  listed = re.search(r"replica_groups=\{\{([\d,\s]*)\}", attributes)
  if listed:
    return len(listed[1].split(","))
  iota = re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes)
  if iota:
    return int(iota[1])
  if "source_target_pairs=" in attributes:
    return 2
  return partitions


def _each(program) -> Iterator[tuple]:
  """Yields (what is one and the same, kind, group, bytes, times)."""
  for step, where, times in program.steps():
    for name, each in _held(program, where, step):
      kind = _SUFFIX.sub("", each.op)
      if kind not in KINDS or each.op.endswith(("-update", "-done")):
        continue
      group = group_size(each.attributes, program.partitions)
      scattered = kind == "reduce-scatter" or _is_scattered(each, step, program)
      size = _whole(each, kind, group)
      if kind == "all-reduce" and scattered:
        kind = "reduce-scatter"
      channel = each.attribute(r"\bchannel_id=(\d+)")
      yield channel or (name, each.name), kind, group, size, times


def _held(program, where, step):
  """An instruction, and those of the computations it calls, with their names.

  Reductions are no steps of their own: they say how a collective adds up.
  """
  yield where, step
  if _SUFFIX.sub("", step.op) in KINDS:
    return
  for name in step.called:
    for each in program.computations.get(name, {}).values():
      yield from _held(program, name, each)


def _is_scattered(each: Instruction, step: Instruction, program) -> bool:
  """Whether a fusion keeps only a device's slice of what it sums up."""
  if step.op != "fusion" or each is step:
    return False
  for name in step.called:
    body = program.computations.get(name, {})
    if each.name in body:
      return num_bytes(step.type) < num_bytes(each.type)
  return False


def _whole(each, kind, group) -> int:
  """Bytes of the whole array."""
  result = each.type
  if each.op.endswith("-start") and kind != "all-reduce":
    members = parts(
      each.type
    )  # operands, results, and what is to be waited for
    result = members[1] if len(members) > 1 else members[0]
  size = num_bytes(result)
  return size * group if kind == "reduce-scatter" else size
