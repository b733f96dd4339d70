"""Memory of a device: what a program takes, and what the compiler lacks."""

import dataclasses
import re

import jax

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)B?"
# Needed, then there.
_MESSAGES = (
  rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)",
  rf"Used {_SIZE} of {_SIZE} hbm",
)


@dataclasses.dataclass(frozen=True)
class Memory:
  """What a compiled step takes of a device, in bytes.

  Attributes:
    arguments: the state and the batch.
    temporaries: the room for what lives within a step.
    peak: the most that lives at once. It is less than the sum of both, where
      the room has gaps.
  """

  arguments: int
  temporaries: int
  peak: int

  @classmethod
  def of(cls, compiled: jax.stages.Compiled) -> "Memory":
    """Returns what a compiled program takes."""
    found = compiled.memory_analysis()
    return cls(
      found.argument_size_in_bytes,
      found.temp_size_in_bytes,
      found.peak_memory_in_bytes,
    )


@dataclasses.dataclass(frozen=True)
class OutOfMemory:
  """What the compiler says of a program that does not fit.

  Attributes:
    needed: bytes, at least: it may count temporaries alone.
    available: bytes that it may use of a device.
  """

  needed: int
  available: int


def read_out_of_memory(message: str) -> OutOfMemory | None:
  """Returns the sizes in a message, None if it is about other things.

  Args:
    message: of the exception.
  """
  if "RESOURCE_EXHAUSTED" not in message:
    return None
  for pattern in _MESSAGES:
    found = re.search(pattern, message)
    if found:
      sizes = [int(float(found[i]) * _UNITS[found[i + 1]]) for i in (1, 3)]
      return OutOfMemory(*sizes)
  return None
