"""A trace of some steps: what ran when, on the host and on its devices."""

import re
from pathlib import Path

import jax


class StepTrace:
  """Records the steps that it is asked for, with jax.profiler.

  Args:
    steps: "FIRST:LAST", both counted from 1 and both in it, or None for none.
    folder: for the trace, which TensorBoard and xprof read.
    write: False on all processes but one.

  Raises:
    ValueError: `steps` is written otherwise, or the last is before the first.
  """

  def __init__(self, steps: str | None, folder: str | Path, *, write=True):
    self._steps = range(0)
    self._folder = Path(folder) if write else None
    self._running = False
    if steps is not None:
      found = re.fullmatch(r"(\d+):(\d+)", steps)
      first, last = map(int, found.groups()) if found else (0, 0)
      if not 1 <= first <= last:
        raise ValueError(
          f"--profile must be FIRST:LAST, two steps from 1 on, got {steps!r}"
        )
      self._steps = range(first, last + 1)

  def __call__(self, step: int) -> None:
    """Starts or ends the trace; to be called before every step."""
    if self._running == (step in self._steps) or self._folder is None:
      return
    if self._running:
      self.close()
    else:
      _wait_for_devices()
      jax.profiler.start_trace(self._folder)
      self._running = True

  def close(self) -> None:
    """Ends a trace that the run has come to an end in."""
    if self._running:
      _wait_for_devices()
      jax.profiler.stop_trace()
      self._running = False


def _wait_for_devices():
  """A step is dispatched long before it is computed."""
  jax.block_until_ready(jax.live_arrays())
