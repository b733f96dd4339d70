"""How long a step takes: from what nothing can beat to what XLA expects.

The one end is a roofline, as if all work and all movement overlapped perfectly.
The other adds up XLA's estimates, as if nothing overlapped. Neither knows of
collectives, nor of the time to read data.
"""

import dataclasses

from trajvit.chips import Chip
from trajvit.plan.target import Target
from trajvit.plan.worker import Compiled

# Hz of TPUs, for which XLA estimates cycles. Those of v6e and tpu7x are
# inferred: at them 4 and 8 units of 256 x 256 multipliers reach the peak rate.
CLOCKS = {
  "v4": 1.05e9,
  "v5e": 1.5e9,
  "v5p": 1.75e9,
  "v6e": 1.75e9,
  "tpu7x": 2.2e9,
}


@dataclasses.dataclass(frozen=True)
class Pace:
  """How fast a run would be.

  Attributes:
    step_seconds: of a training step.
    mfu: model FLOPs a second of what the chips can do: nothing that is computed
      twice counts.
    clips_per_second: of all chips.
    tokens_per_second: likewise, slots of the tokenizer.
    run_hours: for all steps of the run.
  """

  step_seconds: float
  mfu: float
  clips_per_second: float
  tokens_per_second: float
  run_hours: float


@dataclasses.dataclass(frozen=True)
class Bracket:
  """Between what a step takes.

  Attributes:
    fastest: FLOPs at the peak rate, or bytes at that of the memory, whichever
      takes longer.
    slowest: XLA's cycles, one after the other; kernels at the peak rate and
      other things without an estimate at the memory's come on top. None where
      XLA has no estimates at all, as for GPUs.
    bound: of the fastest: "compute" or "memory".
  """

  fastest: Pace
  slowest: Pace | None
  bound: str


def bracket(
  compiled: Compiled,
  target: Target,
  *,
  clips: int,
  total_steps: int,
) -> Bracket:
  """Returns how fast a step that fits is.

  Args:
    compiled: with `traffic`.
    target: what for.
    clips: of the global batch.
    total_steps: of the run.
  """
  chip, devices = target.chip, target.num_devices
  peak, bandwidth = rates(chip)
  work = compiled.flops.total / devices / peak
  movement = compiled.traffic.bytes / bandwidth

  def pace(seconds):
    return Pace(
      step_seconds=seconds,
      mfu=compiled.model_flops / devices / peak / seconds,
      clips_per_second=clips / seconds,
      tokens_per_second=clips * compiled.tokens / seconds,
      run_hours=total_steps * seconds / 3600,
    )

  slowest = None
  if target.name in CLOCKS and compiled.traffic.cycles:
    known = compiled.traffic.cycles / CLOCKS[target.name]
    kernels = compiled.flops.pallas / devices / peak
    others = compiled.traffic.bytes_without_estimate / bandwidth
    # XLA is an optimist about some fusions: never below the roofline.
    slowest = pace(max(known + kernels + others, work, movement))
  return Bracket(
    fastest=pace(max(work, movement)),
    slowest=slowest,
    bound="compute" if work >= movement else "memory",
  )


def rates(chip: Chip) -> tuple[float, float]:
  """Returns FLOPs and bytes a second of one device at most."""
  return chip.peak_flops / chip.devices, chip.hbm_bandwidth / chip.devices
