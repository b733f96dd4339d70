"""What a plan is made for: chips of a kind, how many, and how they connect."""

import dataclasses
import math
import re

from trajvit.chips import CHIPS, Chip


@dataclasses.dataclass(frozen=True)
class Target:
  """Accelerators that need not be at hand.

  Attributes:
    name: of the chip, in CHIPS.
    shape: of a slice in chips, such as (16, 16); for GPUs (number,).
    slices: how many slices there are, connected by their data centre alone.
  """

  name: str
  shape: tuple[int, ...]
  slices: int = 1

  def __post_init__(self):
    CHIPS[self.name]
    if self.slices < 1:
      raise ValueError(f"--slices must be at least 1, got {self.slices}")
    if not self.chip.is_tpu and self.slices > 1:
      raise ValueError(f"--slices is for TPUs, got {self.slices} of {self}")

  @property
  def chip(self) -> Chip:
    """The chip."""
    return CHIPS[self.name]

  @property
  def num_chips(self) -> int:
    """Chips in all slices."""
    return math.prod(self.shape) * self.slices

  @property
  def num_devices(self) -> int:
    """Devices that JAX shows in all slices."""
    return self.num_chips * self.chip.devices

  @property
  def topology(self) -> str:
    """The name of a slice, as libtpu and Google Cloud have it: v5e:16x16."""
    return f"{self.name}:{'x'.join(map(str, self.shape))}"

  def __str__(self) -> str:
    if not self.chip.is_tpu:
      return f"{self.num_chips} x {self.name}"
    times = f"{self.slices} x " if self.slices > 1 else ""
    return times + self.topology


def parse_target(text: str, slices: int = 1) -> Target:
  """Returns what `--topology` and `--slices` say.

  Args:
    text: "v5e:16x16", a slice of TPUs; or "8 x H100", GPUs.
    slices: of TPUs.

  Raises:
    ValueError: another form, an unknown chip, or a TPU given as a GPU.
  """
  slice_of = re.fullmatch(r"\s*([\w-]+):(\d+(?:x\d+)*)\s*", text)
  number_of = re.fullmatch(r"\s*(\d+)\s*x\s*([A-Za-z][\w-]*)\s*", text)
  if slice_of:
    name, sizes = slice_of[1].lower(), slice_of[2].split("x")
  elif number_of:
    name, sizes = number_of[2].lower(), [number_of[1]]
  else:
    raise ValueError(
      "--topology must be a slice such as v5e:16x16, or GPUs such as "
      f"'8 x h100', got {text!r}"
    )
  shape = tuple(map(int, sizes))
  if CHIPS[name].is_tpu != bool(slice_of) or min(shape) < 1:
    form = f"{name}:4x4" if CHIPS[name].is_tpu else f"'8 x {name}'"
    raise ValueError(f"--topology of {name} must be like {form}, got {text!r}")
  return Target(name, shape, slices)
