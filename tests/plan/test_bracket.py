"""How long a step takes, against numbers worked out by hand.

A v5e does 197 TFLOP and moves 819 GB a second, and has 1.5 G cycles.
"""

import dataclasses

import pytest
from plan_cases import STEP, compiled

from trajvit.chips import CHIPS
from trajvit.evaluators.flops import FlopCount
from trajvit.plan.bracket import CLOCKS, bracket, rates
from trajvit.plan.target import parse_target

V5E = parse_target("v5e:2x2")


def found(step, target=V5E):
  return bracket(step, target, clips=6, total_steps=900)


def test_a_bracket():
  """4 x 788 TFLOP on four chips are 4 s, 819 GB one; 5.85 G cycles are 3.9 s,
  and 788 TFLOP of kernels on all chips one more, a tenth of the bytes 0.1."""
  times = found(STEP)
  assert times.bound == "compute"
  assert times.fastest.step_seconds == pytest.approx(4)
  assert times.slowest.step_seconds == pytest.approx(5)
  # Half of the products are not computed twice.
  assert times.fastest.mfu == pytest.approx(0.5)
  assert times.slowest.mfu == pytest.approx(0.4)
  assert times.fastest.clips_per_second == pytest.approx(1.5)
  assert times.fastest.tokens_per_second == pytest.approx(15)
  assert times.fastest.run_hours == pytest.approx(1)


def test_memory_may_be_what_takes_longest():
  moving = dataclasses.replace(STEP.traffic, bytes=819 * 10**10)
  times = found(compiled(traffic=moving))
  assert times.bound == "memory"
  assert times.fastest.step_seconds == pytest.approx(10)
  # Whatever XLA estimates, nothing beats the memory.
  assert times.slowest.step_seconds == pytest.approx(10)


def test_gpus_have_no_cycles():
  times = found(STEP, parse_target("4 x h100"))
  assert times.slowest is None and times.fastest.step_seconds > 0


def test_a_device_may_be_half_a_chip():
  chip = CHIPS["tpu7x"]
  assert rates(chip) == (chip.peak_flops / 2, chip.hbm_bandwidth / 2)


def test_a_step_of_kernels_alone():
  kernels = FlopCount(pallas=788 * 10**12)
  idle = dataclasses.replace(STEP.traffic, bytes=0)
  times = found(compiled(flops=kernels, traffic=idle))
  assert times.fastest.step_seconds == pytest.approx(1)
  assert times.slowest.step_seconds == pytest.approx(5)


def test_every_tpu_has_a_clock():
  assert set(CLOCKS) == {name for name in CHIPS if CHIPS[name].is_tpu}
