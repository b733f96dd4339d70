"""Collectives in compiled programs: kinds, groups, counts and sizes."""

import pytest
from programs import LOOP, program

from trajvit.plan.collectives import Collective, collectives, group_size
from trajvit.plan.hlo import parse

X = "%x = f32[8]{0} parameter(0)"


def found(*lines, **options):
  return collectives(parse(program(X, *lines, **options)))


@pytest.mark.parametrize(
  "attributes, size",
  [
    ("replica_groups={{0,1,2},{3,4,5}}, dimensions={0}", 3),
    ("replica_groups={{0},{1}}", 1),
    ("replica_groups=[32,8]<=[256]", 8),
    ("replica_groups=[4,2]<=[2,4]T(1,0), use_global_device_ids=true", 2),
    ("replica_groups={}", 16),
    ("channel_id=1", 16),
    ("replica_groups=mesh['axis_0'=1,'axis_1'=4] {'axis_1'}", 4),
    ("replica_groups=mesh['a'=2,'b'=4,'c'=2] {'a','b'}, x={}", 8),
    ("replica_groups=mesh['a'=1,'b'=4], device_ids=([2,4]T(1,0)) {'b'}", 4),
    ("replica_groups=mesh['a'=8] {'a':(2)4}", 4),
    ("source_target_pairs={{0,1},{1,2},{2,0}}", 2),
  ],
)
def test_groups_are_written_in_many_ways(attributes, size):
  assert group_size(f", {attributes}, metadata={{}}", partitions=16) == size


def test_a_collective_in_a_loop_counts_as_often_as_it_runs():
  gathered = 2 * 512 * 512
  assert collectives(parse(LOOP)) == [
    Collective("all-gather", 4, 6, 6 * gathered)
  ]


def test_sizes_are_those_of_the_whole_array():
  groups = "replica_groups=[2,4]<=[8]"
  listed = found(
    f"%g = f32[32]{{0}} all-gather(%x), {groups}, dimensions={{0}}",
    f"%r = f32[8]{{0}} all-reduce(%x), {groups}, to_apply=%add",
    f"%s = f32[2]{{0}} reduce-scatter(%x), {groups}, to_apply=%add",
    f"%t = f32[8]{{0}} all-to-all(%x), {groups}, dimensions={{0}}",
    "%p = f32[8]{0} collective-permute(%x), source_target_pairs={{0,1}}",
  )
  assert {each.kind: (each.group, each.bytes) for each in listed} == {
    "all-gather": (4, 128),
    "all-reduce": (4, 32),
    "reduce-scatter": (4, 32),
    "all-to-all": (4, 32),
    "collective-permute": (2, 32),
  }


def test_a_pair_of_start_and_done_is_one():
  groups = "replica_groups=[2,4]<=[8]"
  listed = found(
    "%g = (f32[8]{0}, f32[32]{0}) all-gather-start(%x), channel_id=1, "
    + groups,
    "%h = f32[32]{0} all-gather-done(%g)",
    "%p = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%x), "
    "channel_id=2, source_target_pairs={{0,1}}",
    "%q = f32[8]{0} collective-permute-done(%p)",
    f"%r = f32[8]{{0}} all-reduce-start(%x), channel_id=3, {groups}",
    "%s = f32[8]{0} all-reduce-done(%r)",
    f"%m = ((f32[8]{{0}}, f32[4]{{0}}), (f32[32]{{0}}, f32[16]{{0}})) "
    f"all-gather-start(%x, %x), channel_id=4, {groups}",
  )
  assert listed == [
    Collective("all-gather", 4, 2, 128 + 192),
    Collective("all-reduce", 4, 1, 32),
    Collective("collective-permute", 2, 1, 32),
  ]


WRAPPED = """\
%wrapped (p: f32[8]) -> f32[32] {
  %p = f32[8] parameter(0)
  ROOT %g = f32[32] all-gather(%p), channel_id=5, replica_groups=[2,4]<=[8]
}
"""


def test_asynchronous_calls_are_looked_into():
  """A collective in pieces, all of one channel, is one."""
  listed = found(
    "%a = ((f32[8]), f32[32], s32[]) async-start(%x), calls=%wrapped",
    "%b = f32[32] async-done(%a), calls=%wrapped",
    "%c = f32[32] fusion(%x), kind=kCustom, calls=%wrapped",
    others=WRAPPED,
  )
  assert listed == [Collective("all-gather", 4, 1, 128)]


SCATTER = """\
%scatter (p: f32[8]) -> f32[2] {
  %p = f32[8] parameter(0)
  %r = f32[8] all-reduce(%p), channel_id=6, replica_groups=[2,4]<=[8], to_apply=%add
  %i = s32[] constant(0)
  ROOT %s = f32[2] dynamic-slice(%r, %i), dynamic_slice_sizes={2}
}
"""  # noqa: E501


def test_a_fusion_that_keeps_a_slice_of_a_sum_scatters_it():
  line = "%c = f32[2] fusion(%x), kind=kCustom, calls=%scatter"
  assert found(line, others=SCATTER) == [Collective("reduce-scatter", 4, 1, 32)]


def test_groups_of_one_say_nothing():
  line = "%r = f32[8] all-reduce(%x), replica_groups={{0},{1}}, to_apply=%add"
  assert found(line) == []
