"""What is printed of a plan, for numbers that are made up."""

import dataclasses

from plan_cases import STEP, compiled

from trajvit.evaluators.flops import FlopCount
from trajvit.plan import page
from trajvit.plan.bracket import bracket
from trajvit.plan.fit import Fit, fit_of
from trajvit.plan.memory import OutOfMemory
from trajvit.plan.remedies import Remedy
from trajvit.plan.target import parse_target

GIB = 2**30
V5E = parse_target("v5e:2x2")
FITS = """\
  mesh       data 2 x fsdp 2
  memory     state 1.00, arguments 1.00, temporaries 4.00, peak 4.00 of 16.00 GiB a device: fits, 11.00 to 12.00 GiB left
  FLOPs      3.15 PFLOP a step on all devices, 788 TFLOP of it in kernels; 1.58 PFLOP if nothing is computed twice
  bytes      819 GB a step and device, to and from memory
  collective all-gather over 2 devices, 24 a step, 500 MB in all
  step       4.00 s to 5.00 s, collectives and reading not counted
             the first is bound by compute
  MFU        50.0 % to 40.0 %
  clips/s    2 to 1
  tokens/s   15 to 12
  run        1.0 h to 1.2 h
  compiled   trace 1 s, lower 2 s, compile 30 s; jax 1.2.3, libtpu 4.5"""  # noqa: E501
TOO_LARGE = """\
  mesh       data 2 x fsdp 2
  memory     state 1.00, needs at least 20.00 of 15.75 GiB: does not fit: at least 4.25 GiB too much"""  # noqa: E501


def body(step, target=V5E):
  times = bracket(step, target, clips=6, total_steps=900)
  return page.body(step, fit_of(step, target), times)


def test_all_of_a_step_that_fits():
  assert body(STEP) == FITS


def test_a_step_that_does_not_fit_says_by_how_much():
  lacking = OutOfMemory(20 * GIB, int(15.75 * GIB))
  step = compiled(memory=None, traffic=None, out_of_memory=lacking)
  step = dataclasses.replace(step, collectives=())
  text = page.body(step, fit_of(step, V5E), None)
  assert text.startswith(TOO_LARGE)
  assert "PFLOP" in text and "MFU" not in text


def test_without_cycles_there_is_one_end():
  text = body(STEP, parse_target("4 x h100"))
  assert "MFU        at best " in text and "clips/s    at best " in text


def test_what_could_not_be_counted_is_told():
  flops = FlopCount(dots=10**9, unknown_calls=2, unbounded_loops=1)
  assert "3 calls and loops could not be counted" in body(compiled(flops=flops))


def test_heading():
  line = page.heading("a.py:b=c", ["--config.d=1"], parse_target("tpu7x:2x2x1"))
  assert line == "a.py:b=c --config.d=1 on tpu7x:2x2x1: 4 chips, 8 devices"


def test_a_remedy_says_what_to_set_and_what_it_costs():
  change = Remedy({"mesh.fsdp": 16}, "gathers more", {})
  assert page.remedy(change, Fit(GIB, 3 * GIB, 2 * GIB)) == (
    "with --config.mesh.fsdp=16 (gathers more): fits, 1.00 to 2.00 GiB left"
  )


def test_room_with_gaps_may_be_more_than_there_is():
  assert page.verdict(Fit(GIB, 3 * GIB, 4 * GIB)) == (
    "fits, up to 2.00 GiB left"
  )
