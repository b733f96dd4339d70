"""Programs that are compiled first and then run in turns, and what came out."""

import dataclasses
import time
from collections.abc import Callable, Hashable

import jax

from trajvit.bench import stopwatch


@dataclasses.dataclass
class Result:
  """What is known of one program.

  Attributes:
    program: None where it did not compile.
    seconds: median, None where it did not run.
    error: why it failed, or None.
    skipped: why it was not run, or None.
  """

  program: stopwatch.Program | None = None
  seconds: float | None = None
  error: str | None = None
  skipped: str | None = None


class Programs:
  """Compiles, times, and remembers what failed.

  Args:
    memory_bytes: a program that needs more is not run; None runs all.
  """

  def __init__(self, memory_bytes: int | None = None):
    self._memory_bytes = memory_bytes
    self._built = {}
    self._calls = {}
    self.results = {}

  def add(
    self, name: Hashable, function: Callable, inputs=(), fixed=()
  ) -> Result:
    """Compiles `function(*inputs, *fixed)`, once for arguments of a shape.

    Args:
      name: to find it by in `results`.
      function: of arrays.
      inputs: shapes of what is new in every round; empty for a function that
        reads only `fixed`.
      fixed: arrays that stay.
    """
    result = self.results[name] = Result()
    # A kernel may fail with any error, and the others are still to be timed.
    try:
      result.program = self._build(function, (*inputs, *fixed))
    except Exception as error:
      result.error = stopwatch.reason(error)
      return result
    need, free = result.program.memory_bytes, self._memory_bytes
    if free is not None and need > free:
      result.skipped = (
        f"needs {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
      )
      return result
    call = result.program.call
    if inputs:
      self._calls[name] = lambda *drawn: call(*drawn, *fixed)
    else:
      self._calls[name] = lambda *drawn: call(*fixed)
    return result

  def run(self, draw, rounds: int, clock=time.perf_counter) -> None:
    """Times everything that compiled and fits; see `stopwatch.alternate`.

    Args:
      draw: `draw(round)` makes the inputs.
      rounds: medians are over so many.
      clock: seconds.
    """
    seconds, errors = stopwatch.alternate(
      self._calls, draw, rounds=rounds, clock=clock
    )
    for name, value in seconds.items():
      self.results[name].seconds = value
    for name, error in errors.items():
      self.results[name].error = error

  def _build(self, function, args):
    leaves, structure = jax.tree.flatten(args)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = function, structure, shapes
    if key not in self._built:
      self._built[key] = stopwatch.build(function, *args)
    return self._built[key]
