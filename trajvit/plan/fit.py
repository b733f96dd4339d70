"""Whether a step fits into the memory of a device, and by how much."""

import dataclasses

from trajvit.plan.target import Target
from trajvit.plan.worker import Compiled


@dataclasses.dataclass(frozen=True)
class Fit:
  """Bytes of a device.

  Attributes:
    needed: by the step, at its peak; at least, if it does not fit.
    available: to programs.
    allocated: for arguments and temporaries, with what is lost between them;
      at most what the step needs. None if it was never placed in memory.
  """

  needed: int
  available: int
  allocated: int | None = None

  @property
  def fits(self) -> bool:
    """Whether it does."""
    return self.needed <= self.available

  @property
  def excess(self) -> int:
    """Bytes that are lacking; below 0 those that are left."""
    return self.needed - self.available


def fit_of(compiled: Compiled, target: Target) -> Fit:
  """Returns whether what was compiled fits.

  The compiler for TPUs says itself what does not fit; the one for GPUs never
  does, so that its peak is compared with the memory.
  """
  if compiled.out_of_memory is not None:
    found = compiled.out_of_memory
    return Fit(found.needed, found.available)
  chip, memory = target.chip, compiled.memory
  return Fit(
    needed=memory.peak,
    available=int(chip.hbm_gib * 2**30 / chip.devices),
    allocated=memory.arguments + memory.temporaries,
  )
