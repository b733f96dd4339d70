"""Sizes in what compilers say of too large programs, and what fits."""

import pytest
from plan_cases import compiled

from trajvit.plan.fit import fit_of
from trajvit.plan.memory import Memory, OutOfMemory, read_out_of_memory
from trajvit.plan.target import parse_target

GIB = 2**30
SAID = [  # by libtpu 0.0.42 and 0.0.50, and by the runtime
  "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for "
  "HLO temporaries (48.5G) exceeds available HBM (15.75G).",
  "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the "
  "total memory required for HLO temporaries (48.5G) exceeds available HBM "
  "(15.75G). HLO module: jit__lambda.",
  "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in "
  "memory space hbm. Used 48.5G of 15.75G hbm. Exceeded hbm capacity by 32.7G.",
]


@pytest.mark.parametrize("message", SAID)
def test_sizes_are_read(message):
  found = read_out_of_memory(message)
  assert found == OutOfMemory(int(48.5 * GIB), int(15.75 * GIB))


def test_units():
  message = SAID[0].replace("48.5G", "12.25T").replace("15.75G", "512M")
  found = read_out_of_memory(message)
  assert found == OutOfMemory(int(12.25 * 2**40), 512 * 2**20)


def test_other_errors_are_no_sizes():
  assert read_out_of_memory("INTERNAL: (1G) exceeds available HBM (2G)") is None
  assert read_out_of_memory("RESOURCE_EXHAUSTED: vmem") is None


def test_the_peak_decides():
  step = compiled(memory=Memory(arguments=GIB, temporaries=20 * GIB, peak=GIB))
  fit = fit_of(step, parse_target("v5e:2x2"))
  assert fit.fits and fit.excess == -15 * GIB


def test_two_devices_share_the_memory_of_their_chip():
  step = compiled(memory=Memory(0, 0, 97 * GIB))
  fit = fit_of(step, parse_target("tpu7x:2x2x1"))
  assert not fit.fits and fit.excess == GIB


def test_a_gpu_compiler_says_nothing():
  step = compiled(memory=Memory(0, 0, 100 * GIB))
  assert not fit_of(step, parse_target("8 x h100")).fits
  assert fit_of(step, parse_target("8 x h200")).fits


def test_a_tpu_compiler_does():
  step = compiled(out_of_memory=OutOfMemory(20 * GIB, 15 * GIB), memory=None)
  fit = fit_of(step, parse_target("v5e:2x2"))
  assert not fit.fits and fit.excess == 5 * GIB
