"""A trace holds the steps that were asked for, and no others."""

import jax
import pytest

from trajvit.training.profiling import StepTrace


def run_steps(trace, count):
  """Steps with names of their own, which a trace of the host shows."""
  for step in range(1, count + 1):
    trace(step)
    with jax.profiler.TraceAnnotation(f"this_is_step_{step}"):
      jax.numpy.ones(4).block_until_ready()
  trace.close()


def recorded(folder):
  """The steps in the files of all traces in `folder`."""
  data = b"".join(x.read_bytes() for x in folder.rglob("*.xplane.pb"))
  return [step for step in range(1, 10) if b"this_is_step_%d" % step in data]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("steps", "expected"), [("3:4", [3, 4]), ("5:50", [5, 6]), (None, [])]
)
def test_only_the_steps_asked_for_are_recorded(tmp_path, steps, expected):
  run_steps(StepTrace(steps, tmp_path), 6)
  assert recorded(tmp_path) == expected


def test_a_process_that_does_not_write_records_nothing(tmp_path):
  run_steps(StepTrace("1:2", tmp_path, write=False), 3)
  assert not list(tmp_path.iterdir())


def test_a_run_restored_after_them_records_nothing(tmp_path):
  trace = StepTrace("1:2", tmp_path)
  trace(3)
  trace.close()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", ["10", "0:3", "5:4", "a:b", "1:2:3", "-1:2"])
def test_what_is_no_range_of_steps_is_an_error(tmp_path, steps):
  with pytest.raises(ValueError, match="must be FIRST:LAST"):
    StepTrace(steps, tmp_path)
