"""Arithmetic of slices: hosts, names and limits follow from the topology."""

import pytest

from tpu import targets
from tpu.targets import GpuNodes, TpuSlice, count, parse, topologies

# target -> topology, chips, hosts, machine type, accelerator type, as Google's
# pages on each version list them.
LISTED = [
  ("v4-8", "2x2x1", 4, 1, "ct4p-hightpu-4t", "v4-8"),
  ("v4-128", "4x4x4", 64, 16, "ct4p-hightpu-4t", "v4-128"),
  ("v5e-1", "1x1", 1, 1, "ct5lp-hightpu-1t", "v5litepod-1"),
  ("v5e-8", "2x4", 8, 1, "ct5lp-hightpu-8t", "v5litepod-8"),
  ("v5e-16", "4x4", 16, 4, "ct5lp-hightpu-4t", "v5litepod-16"),
  ("v5e-256", "16x16", 256, 64, "ct5lp-hightpu-4t", "v5litepod-256"),
  ("v5p-32", "2x2x4", 16, 4, "ct5p-hightpu-4t", "v5p-32"),
  ("v5p-1024", "8x8x8", 512, 128, "ct5p-hightpu-4t", "v5p-1024"),
  ("v5p-12288", "16x16x24", 6144, 1536, "ct5p-hightpu-4t", "v5p-12288"),
  ("v6e-4", "2x2", 4, 1, "ct6e-standard-4t", "v6e-4"),
  ("v6e-64", "8x8", 64, 16, "ct6e-standard-4t", "v6e-64"),
  ("tpu7x-8", "2x2x1", 4, 1, "tpu7x-standard-4t", "tpu7x-8"),
  ("tpu7x-128", "4x4x4", 64, 16, "tpu7x-standard-4t", "tpu7x-128"),
]


@pytest.mark.parametrize(
  ("name", "topology", "chips", "hosts", "machine", "accelerator"), LISTED
)
def test_what_is_listed_is_computed(
  name, topology, chips, hosts, machine, accelerator
):
  target = parse(name)
  assert target.topology == topology
  assert (target.chips, target.hosts) == (chips, hosts)
  assert target.machine_type == machine
  assert target.accelerator_type == accelerator
  assert parse(target.name) == target


@pytest.mark.parametrize("chip", targets.FAMILIES)
def test_every_slice_is_consistent(chip):
  grids = topologies(chip)
  assert len(set(grids)) == len(grids)
  for grid in grids[:200]:
    target = TpuSlice(chip, grid)
    assert target.hosts * target.chips_per_host == target.chips == count(grid)
    assert target.chips_per_host in (1, 4, 8)
    # The number in the name means the most cubic grid of so many chips.
    number = target.chips * target.family.cores
    named = parse(f"{chip}-{number}")
    assert named.chips == target.chips
    sides = [[int(n) for n in x.split("x")] for x in (named.topology, grid)]
    assert sum(sides[0]) <= sum(sides[1])


def test_each_chip_can_be_had_by_some_way():
  for name, family in targets.FAMILIES.items():
    assert family.runtime or family.image, name
  assert not targets.FAMILIES["tpu7x"].runtime
  assert not targets.FAMILIES["v5e"].image


def test_gpus_come_in_nodes_of_eight():
  assert parse("h100-64").hosts == 8
  assert parse("h200-4") == GpuNodes("h200", 4)
  assert parse("a100-80-16").hosts == 2
  assert parse("h200-4").chips_per_host == 4


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("v6e:3x3", "has no slice 3x3; it has 1x1, 2x2"),
    ("v5p:8x4x4", "has no slice"),  # sides grow
    ("v5e-7", "no slice of 7; it has 1, 4, 8"),
    ("v5p-4", "no slice of 4; it has 8, 16"),
    ("v9:2x2", "unknown TPU 'v9'; known: tpu7x, v4"),
    ("x100-8", "unknown chip 'x100'"),
    ("h100-12", "whole nodes"),
    ("h100", "such as v5e:16x16"),
    ("h100:2x2", "unknown TPU 'h100'"),
  ],
)
def test_what_does_not_exist_is_refused_with_what_does(name, said):
  with pytest.raises(ValueError, match=said):
    parse(name)


def test_the_table_and_a_target_are_shown(capsys):
  assert targets.main([]) == 0
  table = capsys.readouterr().out.splitlines()
  assert len(table) == 1 + len(targets.FAMILIES)
  assert targets.main(["v5p:8x8x8"]) == 0
  shown = capsys.readouterr().out
  assert "128 of 4 chips" in shown
  assert "48640 in all" in shown
  with pytest.raises(SystemExit) as ended:
    targets.main(["v5p:1x1"])
  assert ended.value.code == 2
