"""Worker processes: the batches of one thread, also after a kill and a death.

Starting a worker takes seconds, so most of this is slow.
"""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import psutil
import pytest
from test_loader import FakeSource, contents, make, stream

from trajvit.data import BrokenClip


class DyingSource(FakeSource):
  """Kills the process that reads clip 5, as often as `deaths` has files."""

  def __init__(self, deaths, **options):
    super().__init__(**options)
    self.deaths = pathlib.Path(deaths)

  def example(self, index, rng):
    if index == 5:
      for file in sorted(self.deaths.glob("*")):
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return super().example(index, rng)


class WrongSource(FakeSource):
  """Clips of which one is a mistake of the source, not of a file."""

  def example(self, index, rng):
    if index == 5:
      raise ValueError("clip5 has three legs")
    return super().example(index, rng)


def children():
  """The processes of this one, but for Python's own tracker of resources."""
  return {
    process.pid
    for process in psutil.Process().children(recursive=True)
    if not any("resource_tracker" in word for word in process.cmdline())
  }


def test_a_worker_gives_what_a_thread_gives_and_leaves_nothing_behind():
  before = children()
  source = FakeSource(broken=(4, 9, 17), captions=("one two many zero one",))
  options = dict(failure_budget=1.0)
  whole = contents(stream(make(source, num_threads=0, **options), 9))
  loader = make(source, num_workers=1, **options)
  batches = stream(loader, 3, start=6)
  assert contents(batches) == whole[6 * 8 :]
  assert all(info.captions_shortened == 8 for _, info in batches)
  assert loader.failures.attempts >= 24  # counted where it is asked for
  assert not children() - before


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same(workers):
  source = FakeSource(broken=(4, 9, 17))
  plain = stream(make(source, num_threads=0, failure_budget=1.0), 20)
  loader = make(source, num_workers=workers, failure_budget=1.0)
  assert contents(stream(loader, 20)) == contents(plain)
  evaluated = [
    (batch.label.tolist(), batch.valid.tolist(), info.skipped)
    for batch, info in loader.evaluate()
  ]
  assert evaluated == [
    (batch.label.tolist(), batch.valid.tolist(), info.skipped)
    for batch, info in make(source).evaluate()
  ]
  assert loader.failures.files.keys() == {"clip4", "clip9", "clip17"}


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path, caplog):
  deaths = tmp_path / "deaths"
  deaths.mkdir()
  expected = contents(stream(make(num_threads=0), 6))
  (deaths / "one").touch()
  with make(DyingSource(deaths), num_workers=2).train() as batches:
    assert contents([next(batches) for _ in range(6)]) == expected
    assert batches.restarts == 1
  assert "started anew" in caplog.text
  for name in "abcdefgh":
    (deaths / name).touch()
  batches = make(DyingSource(deaths), num_workers=1).train()
  with pytest.raises(RuntimeError, match="terminated unexpectedly"):
    [next(batches) for _ in range(6)]
  assert not children()


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_error():
  with pytest.raises(ValueError, match="three legs"):
    stream(make(WrongSource(), num_workers=1), 6)
  broken = FakeSource(broken=range(23))
  with pytest.raises(Exception, match="100 clips in a row") as error:
    stream(make(broken, num_workers=1), 1)
  assert not isinstance(error.value, BrokenClip)


KILLED = """
  import sys
  import numpy as np
  from test_loader import contents, make

  if __name__ == "__main__":
    with make(num_workers=int(sys.argv[1])).train() as batches:
      for step, item in enumerate(batches):
        print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_killed_and_resumed_the_next_50_batches_are_the_same(tmp_path, workers):
  """The process that reads is killed; another number of workers goes on."""
  script = tmp_path / "killed.py"
  script.write_text(textwrap.dedent(KILLED))
  path = os.pathsep.join(sys.path)
  with subprocess.Popen(
    [sys.executable, str(script), str(workers)],
    stdout=subprocess.PIPE,
    env={**os.environ, "PYTHONPATH": path},
    start_new_session=True,
  ) as reader:
    for line in reader.stdout:
      step = int(line)
      if step == 7:
        os.killpg(reader.pid, signal.SIGKILL)
        break
  expected = contents(stream(make(num_threads=0), 8 + 50))[8 * 8 :]
  for resumed in (1, 2, 4):
    batches = stream(make(num_workers=resumed), 50, start=8)
    assert contents(batches) == expected
    assert all(batch.clip.frames.dtype == np.uint8 for batch, _ in batches)
