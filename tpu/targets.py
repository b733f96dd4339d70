r"""What can be launched on: slices of TPUs, and nodes of GPUs.

  python -m tpu.targets              # the table
  python -m tpu.targets v5p:8x8x8    # one target, and all that follows from it

A target is named by its topology, "v5e:16x16", or as Google names it,
"v5e-256". Mind what that number counts: chips for v5e and v6e; TensorCores, two
a chip, for v4, v5p and tpu7x. GPUs are named by how many there are: "h100-64".

Chips of a slice are wired as a grid, and how many hosts it has follows from it:
four chips a host, except that up to eight chips of v5e and v6e have one host.
Machine types and topologies are those of Google's pages on TPU versions and on
planning TPUs in GKE, as read in November 2026.
"""

import argparse
import dataclasses
import functools
import math
import sys

from trajvit.chips import CHIPS, Chip
from trajvit.table import Table

GPUS_PER_NODE = 8
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
BELOW_A_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")


@dataclasses.dataclass(frozen=True)
class Family:
  """How Google names and hands out slices of a chip.

  Attributes:
    accelerator: prefix of the accelerator type; a number follows.
    machine: prefix of the machine type; the chips of a host and "t" follow.
    node_label: value of the label cloud.google.com/gke-tpu-accelerator.
    cores: what a chip adds to the number in the accelerator type.
    cubes: of 4x4x4 chips in the largest slice, 0 where the grid is flat.
    runtime: software version for the Cloud TPU API, which is legacy, or "".
    image: image family for Compute Engine, today's way, or "".
  """

  accelerator: str
  machine: str
  node_label: str
  cores: int = 1
  cubes: int = 0
  runtime: str = ""
  image: str = ""


OLDER_IMAGE = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
FAMILIES = Table(
  "TPU",
  {
    "v4": Family(
      accelerator="v4",
      cores=2,
      machine="ct4p-hightpu",
      node_label="tpu-v4-podslice",
      cubes=64,
      runtime="tpu-ubuntu2204-base",
    ),
    "v5e": Family(
      accelerator="v5litepod",
      machine="ct5lp-hightpu",
      node_label="tpu-v5-lite-podslice",
      runtime="v2-alpha-tpuv5-lite",
    ),
    "v5p": Family(
      accelerator="v5p",
      cores=2,
      machine="ct5p-hightpu",
      node_label="tpu-v5p-slice",
      cubes=96,
      runtime="v2-alpha-tpuv5",
      image=OLDER_IMAGE,
    ),
    "v6e": Family(
      accelerator="v6e",
      machine="ct6e-standard",
      node_label="tpu-v6e-slice",
      runtime="v2-alpha-tpuv6e",
      image=OLDER_IMAGE,
    ),
    "tpu7x": Family(
      accelerator="tpu7x",
      cores=2,
      machine="tpu7x-standard",
      node_label="tpu7x",
      cubes=144,
      image="ubuntu-accel-2404-amd64-tpu-tpu7x",
    ),
  },
)


@dataclasses.dataclass(frozen=True)
class TpuSlice:
  """Chips that are wired to each other.

  Attributes:
    chip_name: a name in FAMILIES.
    topology: chips along each side of the grid, such as "16x16".
  """

  chip_name: str
  topology: str

  def __post_init__(self):
    known = topologies(self.chip_name)
    if self.topology not in known:
      raise ValueError(
        f"{self.chip_name} has no slice {self.topology}; it has "
        f"{', '.join(known[:12])}{', ...' if known[12:] else ''}"
      )

  @property
  def name(self) -> str:
    """How `parse` reads it."""
    return f"{self.chip_name}:{self.topology}"

  @property
  def chip(self) -> Chip:
    """What one chip can do."""
    return CHIPS[self.chip_name]

  @property
  def family(self) -> Family:
    """What Google calls them."""
    return FAMILIES[self.chip_name]

  @property
  def chips(self) -> int:
    """Chips of the slice."""
    return count(self.topology)

  @property
  def chips_per_host(self) -> int:
    """Chips that one host drives."""
    most = 4 if self.family.cubes else 8
    return self.chips if self.chips <= most else 4

  @property
  def hosts(self) -> int:
    """Machines, each of which runs one process."""
    return self.chips // self.chips_per_host

  @property
  def machine_type(self) -> str:
    """Of Compute Engine, for a host."""
    return f"{self.family.machine}-{self.chips_per_host}t"

  @property
  def accelerator_type(self) -> str:
    """Of the Cloud TPU API, for the slice."""
    return f"{self.family.accelerator}-{self.chips * self.family.cores}"


@dataclasses.dataclass(frozen=True)
class GpuNodes:
  """Nodes of up to eight GPUs, each GPU with a process of its own.

  Attributes:
    chip_name: a name in CHIPS.
    chips: GPUs in all.
  """

  chip_name: str
  chips: int

  def __post_init__(self):
    whole = self.chips % GPUS_PER_NODE == 0
    if self.chips < 1 or self.chips > GPUS_PER_NODE and not whole:
      raise ValueError(
        f"GPUs must be 1 to {GPUS_PER_NODE}, or whole nodes of as many; got "
        f"{self.chips}"
      )

  @property
  def name(self) -> str:
    """How `parse` reads it."""
    return f"{self.chip_name}-{self.chips}"

  @property
  def chip(self) -> Chip:
    """What one GPU can do."""
    return CHIPS[self.chip_name]

  @property
  def chips_per_host(self) -> int:
    """GPUs of a node."""
    return min(self.chips, GPUS_PER_NODE)

  @property
  def hosts(self) -> int:
    """Nodes."""
    return self.chips // self.chips_per_host


def count(topology: str) -> int:
  """Returns the chips of a topology such as "2x2x4"."""
  return math.prod(int(side) for side in topology.split("x"))


@functools.cache
def topologies(chip_name: str) -> tuple[str, ...]:
  """Returns the grids that a chip comes in, small ones first.

  Raises:
    ValueError: no such TPU.
  """
  cubes = FAMILIES[chip_name].cubes
  if not cubes:
    return FLAT
  # The sides of a grid never shrink: 4x4x8, not 8x4x4.
  sides = [
    (4 * a, 4 * b, 4 * c)
    for a in range(1, cubes + 1)
    for b in range(a, cubes // a + 1)
    for c in range(b, cubes // (a * b) + 1)
  ]
  grids = ["x".join(map(str, side)) for side in sides]
  return (*BELOW_A_CUBE, *sorted(grids, key=_by_size))


def _by_size(topology: str):
  # Of equally many chips the most cubic first: it has the shortest ways.
  sides = [int(side) for side in topology.split("x")]
  return math.prod(sides), sum(sides), sides


def parse(text: str) -> TpuSlice | GpuNodes:
  """Returns the target that `text` names.

  Args:
    text: "v5e:16x16", "v5e-256" or "h100-64".

  Raises:
    ValueError: it names none.
  """
  name, colon, topology = text.partition(":")
  if colon:
    FAMILIES[name]
    return TpuSlice(name, topology)
  name, dash, number = text.rpartition("-")
  if not dash or not number.isdigit():
    raise ValueError(
      'a target is "chip:topology" or "chip-number", such as v5e:16x16, '
      f"v5e-256 or h100-64; got {text!r}"
    )
  if name not in FAMILIES:
    CHIPS[name]
    return GpuNodes(name, int(number))
  cores = FAMILIES[name].cores
  fitting = [t for t in topologies(name) if cores * count(t) == int(number)]
  if not fitting:
    sizes = dict.fromkeys(cores * count(t) for t in topologies(name))
    raise ValueError(
      f"{name} has no slice of {number}; it has "
      f"{', '.join(str(size) for size in list(sizes)[:12])}, ..."
    )
  return TpuSlice(name, fitting[0])


def describe(target: TpuSlice | GpuNodes, slices: int = 1) -> dict[str, str]:
  """Returns what a person wants to know of a target, in words."""
  chips = target.chips * slices
  facts = {
    "target": f"{slices} x {target.name}" if slices > 1 else target.name,
    "chips": str(chips),
    "hosts": f"{target.hosts * slices} of {target.chips_per_host} chips",
    "memory": f"{target.chip.hbm_gib:g} GiB a chip, "
    f"{target.chip.hbm_gib * chips:g} in all",
    "peak": f"{target.chip.peak_flops * chips / 1e15:.3g} PFLOP/s in bfloat16",
  }
  if isinstance(target, TpuSlice):
    ways = [("gce", target.family.image), ("queued", target.family.runtime)]
    facts |= {
      "machine type": target.machine_type,
      "accelerator type": target.accelerator_type,
      "ways": ", ".join([*(way for way, has in ways if has), "gke"]),
    }
  return facts


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tpu.targets",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("target", nargs="?")
  args = parser.parse_args(argv)
  if args.target:
    try:
      facts = describe(parse(args.target))
    except ValueError as error:
      parser.error(str(error))
    for name, value in facts.items():
      print(f"{name:17} {value}")
    return 0
  print("chip   GiB  TFLOP/s  largest   hosts  ways")
  for name in FAMILIES:
    most = max(topologies(name), key=count)  # the most cubic comes first
    largest = TpuSlice(name, most)
    print(
      f"{name:5} {largest.chip.hbm_gib:4g} {largest.chip.peak_flops / 1e12:8g}"
      f"  {largest.topology:9} {largest.hosts:5}  {describe(largest)['ways']}"
    )
  return 0


if __name__ == "__main__":
  sys.exit(main())
