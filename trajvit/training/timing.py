"""How fast a run is, and how long it waits for data."""

import collections
import time
from collections.abc import Iterator

WINDOW = 20  # steps that speeds are averaged over


class StepTimer:
  """Times the steps of a run and its waits for data.

  Args:
    clips: batch size.
    flops: of a step on all devices, with nothing computed twice.
    peak: FLOP/s of all devices, 0 where that is not known.
  """

  def __init__(self, clips: int, *, flops: int = 0, peak: float = 0.0):
    self._clips, self._flops, self._peak = clips, flops, peak
    self._waited = 0.0
    self._last = time.perf_counter()
    self._steps = collections.deque(maxlen=WINDOW)
    self._laps = 0

  def next(self, batches: Iterator):
    """Returns the next item of `batches` and counts the time it takes."""
    start = time.perf_counter()
    item = next(batches)
    self._waited += time.perf_counter() - start
    return item

  def lap(self) -> dict[str, float]:
    """Ends a step; returns means over the last WINDOW steps.

    The first step, which compiles, counts only until there is a second.

    Returns:
      `time/step_ms`, `time/clips_per_second`, `time/data_wait_%`, the share of
      the time in which the program only waited for data, and where the peak is
      known `time/mfu_%`, the share of it that the step's FLOPs take.
    """
    now = time.perf_counter()
    self._laps += 1
    if self._laps == 2:
      self._steps.clear()
    self._steps.append((now - self._last, self._waited))
    self._last, self._waited = now, 0.0
    seconds, waited = map(sum, zip(*self._steps, strict=True))
    rate = len(self._steps) / seconds
    timings = {
      "time/step_ms": 1000 / rate,
      "time/clips_per_second": self._clips * rate,
      "time/data_wait_%": 100 * waited / seconds,
    }
    if self._peak:
      timings["time/mfu_%"] = 100 * self._flops * rate / self._peak
    return timings

  def resume(self) -> None:
    """Leaves out the time since the last step, spent on something else."""
    self._last, self._waited = time.perf_counter(), 0.0
