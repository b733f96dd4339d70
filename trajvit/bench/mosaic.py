"""What a program compiled for TPU says of the Pallas kernels in it."""

import dataclasses
import re

import jax


@dataclasses.dataclass(frozen=True)
class Kernel:
  """A kernel in a compiled program.

  Attributes:
    name: of its `pallas_call`.
    vmem: bytes of VMEM that it takes.
    vmem_limit: bytes that it was allowed.
    flops: of its cost estimate.
  """

  name: str
  vmem: int
  vmem_limit: int
  flops: int


def kernels(compiled: jax.stages.Compiled) -> tuple[Kernel, ...]:
  """Returns the kernels in the order of the program's text."""
  lines = compiled.as_text().splitlines()
  return tuple(_kernel(line) for line in lines if _CALL in line)


_CALL = 'custom_call_target="tpu_custom_call"'


def _kernel(line):
  name = re.search(r'op_name="[^"]*?(\w+)\)*/pallas_call', line)
  flops = re.search(r'"flops":"(\d+)"', line)
  return Kernel(
    name=name[1] if name else "unnamed",
    vmem=_scoped(line, "used_scoped_memory_configs"),
    vmem_limit=_scoped(line, "scoped_memory_configs"),
    flops=int(flops[1]) if flops else 0,
  )


def _scoped(line, field):
  match = re.search(rf'"{field}":\[([^]]*)\]', line)
  sizes = re.findall(r'"size":"(\d+)"', match[1]) if match else []
  return sum(map(int, sizes))
