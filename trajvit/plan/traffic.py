"""What a device does in a step: cycles by XLA's estimate, bytes to its memory.

Both are summed over all trips of all loops.
"""

import dataclasses

from trajvit.plan.collectives import KINDS
from trajvit.plan.hlo import Instruction, Program, num_bytes

# They name, wait or make room, and move nothing.
_FREE = {
  "after-all",
  "bitcast",
  "constant",
  "get-tuple-element",
  "opt-barrier",
  "parameter",
  "partition-id",
  "replica-id",
  "tuple",
}
_SLICES = {"dynamic-slice", "gather", "slice"}
_KERNEL = "tpu_custom_call"
# What XLA cannot estimate has no cycles at all, or absurdly many.
_MOST_CYCLES = 2**50


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Of one device and one step.

  Attributes:
    cycles: those that XLA expects, of what it has an estimate for.
    bytes: read from and written to memory by everything that runs; what XLA
      keeps in the chip's own memory aside.
    kernels: calls of Pallas kernels, which have no estimate.
    bytes_without_estimate: those of other instructions without one,
      collectives aside.
  """

  cycles: int
  bytes: int
  kernels: int
  bytes_without_estimate: int


def traffic(program: Program) -> Traffic:
  """Returns what a device does in a step."""
  cycles = moved = kernels = unknown = 0
  for step, where, times in program.steps():
    estimate = _estimate(step)
    cycles += times * (estimate or 0)
    size = _bytes(program, step, program.computations[where])
    moved += times * size
    if _is_kernel(step):
      kernels += times
    elif estimate is None and not _is_collective(step):
      unknown += times * size
  return Traffic(cycles, moved, kernels, unknown)


def _estimate(step) -> int | None:
  """XLA's cycles, or None where it has no idea."""
  written = step.attribute(r'"estimated_cycles":"(\d+)"')
  if written is None or int(written) > _MOST_CYCLES:
    return None
  return int(written)


def _is_kernel(step):
  return step.op == "custom-call" and _KERNEL in step.attributes


def _is_collective(step):
  return step.op.removesuffix("-start") in KINDS


def _bytes(program, step: Instruction, among) -> int:
  """Bytes that a step reads and writes in HBM."""
  op = step.op
  if op in _FREE or op.endswith(("-update", "-done")):
    return 0
  if op == "custom-call" and not _is_kernel(step):
    return 0
  if op == "fusion":
    return _fusion_bytes(program, step, among)
  size = num_bytes(step.type, hbm_only=True)
  if op in _SLICES:
    return 2 * size
  if op == "dynamic-update-slice":
    return 2 * _operand(step, 1, among)
  if op.endswith("-start"):
    return size  # its type holds what it reads beside what it writes
  return size + sum(_operand(step, i, among) for i in range(len(step.operands)))


def _operand(step, index, among) -> int:
  made = among.get(step.operands[index])
  return num_bytes(made.type, hbm_only=True) if made else 0


def _fusion_bytes(program, step, among) -> int:
  """What a fusion reads of each operand, and what it writes.

  Of an operand that is only cut from, it reads the slices; of one that it
  changes in place, it touches the part that changes.
  """
  (name,) = step.called
  body = program.computations[name]
  root = next(each for each in body.values() if each.is_root)
  updates = [
    _operand(each, 1, body)
    for each in (_source(root, body), *_members(root, body))
    if each.op == "dynamic-update-slice"
  ]
  written = sum(updates) or num_bytes(step.type, hbm_only=True)
  read = 0
  for each in body.values():
    if each.op == "parameter" and int(each.operands[0]) < len(step.operands):
      whole = _operand(step, int(each.operands[0]), among)
      read += min(whole, _read(program, each.name, body, whole))
  return written + read


def _read(program, name, body, whole) -> int:
  """Bytes that a computation reads of an array of `whole` bytes in it."""
  total = 0
  for each in body.values():
    if name not in each.operands:
      continue
    if each.op in _SLICES and each.operands[0] == name:
      total += num_bytes(each.type)
    elif each.op == "dynamic-update-slice" and each.operands[0] == name:
      continue
    elif each.op == "bitcast":
      total += _read(program, each.name, body, whole)
    elif each.op == "fusion":
      inner = program.computations[each.called[0]]
      for parameter in inner.values():
        if parameter.op == "parameter":
          index = int(parameter.operands[0])
          if index < len(each.operands) and each.operands[index] == name:
            total += _read(program, parameter.name, inner, whole)
    else:
      return whole
  return total


def _source(each, body):
  """What an instruction is, below the names it has been given."""
  while each.op == "bitcast" and each.operands[0] in body:
    each = body[each.operands[0]]
  return each


def _members(root, body):
  if root.op != "tuple":
    return []
  return [_source(body[name], body) for name in root.operands if name in body]
