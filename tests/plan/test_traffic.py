"""Cycles and bytes of compiled programs, against sums by hand."""

from programs import LOOP, program

from trajvit.plan.hlo import parse
from trajvit.plan.traffic import Traffic, traffic

X = "%x = f32[8]{0} parameter(0)"


def found(*lines, **options) -> Traffic:
  return traffic(parse(program(X, *lines, **options)))


def test_a_loop():
  hidden, cut, gathered = 2 * 256 * 512, 2 * 512 * 128, 2 * 512 * 512
  once = (
    2 * hidden  # put: reads what it writes into its place in the stack
    + 2 * cut  # cut: reads a slice of the stack
    + cut
    + gathered  # all-gather
    + hidden
    + gathered
    + hidden  # product
  )
  indices = 2 * 4  # one number each for put and cut
  result = traffic(parse(LOOP))
  assert result.cycles == 6 * (1000 + 200 + 5000) + 40
  assert result.bytes == 6 * (once + indices) + 2 * hidden
  assert result.kernels == result.bytes_without_estimate == 0


def test_what_stays_on_the_chip_moves_nothing():
  near, far = "f32[8]{0:T(128)S(1)}", "f32[8]{0:T(128)}"
  to = 'backend_config={"estimated_cycles":"7"}'
  assert found(f"%y = {near} copy(%x), {to}").bytes == 32
  assert found(f"%y = {far} copy(%x), {to}").bytes == 64


def test_kernels_are_counted_and_have_no_estimate():
  call = 'custom-call(%x), custom_call_target="tpu_custom_call"'
  assert found(f"%y = f32[8] {call}") == Traffic(
    cycles=0, bytes=64, kernels=1, bytes_without_estimate=0
  )
  call = 'custom-call(), custom_call_target="AllocateBuffer"'
  assert found(f"%y = f32[8] {call}").bytes == 0


def test_a_copy_in_the_background_is_counted_where_it_starts():
  result = found(
    "%s = (f32[8]{0:S(1)}, f32[8]{0}, u32[]{:S(2)}) copy-start(%x)",
    "%d = f32[8]{0:S(1)} copy-done(%s)",
  )
  assert result.bytes == 32


def test_what_xla_does_not_estimate_is_told():
  result = found(
    "%y = f32[8] negate(%x)",
    "%z = f32[8] all-reduce(%y), replica_groups=[2,4]<=[8], to_apply=%add",
  )
  assert result.bytes == 128 and result.bytes_without_estimate == 64


def test_absurd_estimates_are_none():
  huge = 'backend_config={"estimated_cycles":"9223372036854775807"}'
  result = found(f"%y = f32[8] copy(%x), {huge}")
  assert result.cycles == 0 and result.bytes_without_estimate == 64


NESTED = """\
%inner (p: f32[6,8], i: s32[]) -> f32[8] {
  %p = f32[6,8] parameter(0)
  %i = s32[] parameter(1)
  %s = f32[1,8] dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,8}
  ROOT %b = f32[8] bitcast(%s)
}

%outer (q: f32[6,8], j: s32[]) -> f32[8] {
  %q = f32[6,8] parameter(0)
  %j = s32[] parameter(1)
  %f = f32[8] fusion(%q, %j), kind=kLoop, calls=%inner
  ROOT %n = f32[8] negate(%f)
}
"""


def test_a_slice_is_found_in_fusions_of_fusions():
  result = found(
    "%stack = f32[6,8] parameter(1)",
    "%i = s32[] constant(2)",
    "%y = f32[8] fusion(%stack, %i), kind=kLoop, calls=%outer",
    others=NESTED,
  )
  assert result.bytes == 32 + 4 + 32
