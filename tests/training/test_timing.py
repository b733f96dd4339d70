"""Timings: what is counted, with a clock that is set by hand."""

import pytest

from trajvit.training import timing


@pytest.fixture
def clock(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
  return now


def test_speed_and_waiting(clock):
  def slow_batches():
    while True:
      clock[0] += 0.5
      yield None

  batches = slow_batches()
  timer = timing.StepTimer(clips=8)
  clock[0] += 60.0  # compiling
  timer.lap()
  for _ in range(3):
    timer.next(batches)
    clock[0] += 1.5
    timings = timer.lap()
  assert timings["time/step_ms"] == pytest.approx(2000)
  assert timings["time/clips_per_second"] == pytest.approx(4)
  assert timings["time/data_wait_%"] == pytest.approx(25)


def test_an_evaluation_in_between_does_not_count(clock):
  timer = timing.StepTimer(clips=1)
  clock[0] += 60.0  # compiling
  timer.lap()
  clock[0] += 1.0
  timer.lap()
  clock[0] += 100.0
  timer.resume()
  clock[0] += 1.0
  assert timer.lap()["time/step_ms"] == pytest.approx(1000)


def test_the_share_of_the_peak(clock):
  timer = timing.StepTimer(clips=1, flops=3_000, peak=1e4)
  clock[0] += 60.0  # compiling
  timer.lap()
  for _ in range(2):
    clock[0] += 0.5
    timings = timer.lap()
  assert timings["time/mfu_%"] == pytest.approx(60)


def test_without_a_peak_there_is_no_share(clock):
  timer = timing.StepTimer(clips=1)
  clock[0] += 1.0
  assert "time/mfu_%" not in timer.lap()
