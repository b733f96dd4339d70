"""Accelerators by name: memory and peak rates, as their makers state them.

Sources: the Cloud TPU system architecture pages, and NVIDIA's data sheets for
the SXM boards, bfloat16 without sparsity. Memory is what a program can see of
it, which for GPUs is what their driver reports.
"""

import dataclasses
from collections.abc import Iterable

from trajvit.table import Table


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator.

  Attributes:
    hbm_gib: memory of a chip in GiB. A runtime keeps some of it to itself.
    peak_flops: floating point operations a second in bfloat16, at most.
    hbm_bandwidth: bytes a second between memory and chip, at most.
    device_kind: how JAX's `device_kind` of such a device begins.
    devices: devices that JAX shows for a chip; they share its memory and rates.
  """

  hbm_gib: float
  peak_flops: float
  hbm_bandwidth: float
  device_kind: str
  devices: int = 1

  @property
  def is_tpu(self) -> bool:
    """Whether it is a TPU; all others here are NVIDIA's GPUs."""
    return self.device_kind.startswith("TPU")


CHIPS = Table(
  "chip",
  {
    "v4": Chip(32, 275e12, 1200e9, "TPU v4"),
    "v5e": Chip(16, 197e12, 819e9, "TPU v5 lite"),
    "v5p": Chip(95, 459e12, 2765e9, "TPU v5"),
    "v6e": Chip(32, 918e12, 1638e9, "TPU v6 lite"),
    "tpu7x": Chip(192, 2307e12, 7380e9, "TPU7x", devices=2),
    "a100-40": Chip(40, 312e12, 1555e9, "NVIDIA A100-SXM4-40GB"),
    "a100-80": Chip(80, 312e12, 2039e9, "NVIDIA A100-SXM4-80GB"),
    "h100": Chip(79.6, 989e12, 3350e9, "NVIDIA H100 80GB HBM3"),
    "h200": Chip(140.4, 989e12, 4800e9, "NVIDIA H200"),
    "b200": Chip(179, 2250e12, 8000e9, "NVIDIA B200"),
  },
)


def peak_flops(device_kinds: Iterable[str]) -> float:
  """Returns FLOP/s in bfloat16 of devices together, 0 if one is not known.

  Args:
    device_kinds: of all of them, as JAX names them.
  """
  names = [chip_of(kind) for kind in device_kinds]
  if None in names:
    return 0.0
  return sum(CHIPS[name].peak_flops / CHIPS[name].devices for name in names)


def chip_of(device_kind: str) -> str | None:
  """Returns the name of the chip that JAX calls so, or None if none here is.

  Args:
    device_kind: of a `jax.Device`, such as "TPU v5 lite" or "NVIDIA H200".
  """
  names = [n for n in CHIPS if device_kind.startswith(CHIPS[n].device_kind)]
  # "TPU v5" begins "TPU v5 lite" as well: the longest is meant.
  return max(names, key=lambda n: len(CHIPS[n].device_kind), default=None)
