"""How time and memory are measured: compiled programs, run in turns.

Two programs are compared by running them alternately, A B A B, in one process
and on the same inputs, which are new in every round. A machine that slows down
in the middle then slows down both, and nothing profits from inputs of zeros or
from what a previous round left in a cache.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping

import jax

# What a measurement should last, so that the clock and the launch of a kernel
# do not count: short programs are run several times in a row.
SHORTEST_SECONDS = 0.02
# A first run also loads the program; one as long as this is long without.
FIRST_RUN_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled function.

  Attributes:
    call: runs it.
    compile_seconds: what tracing and compiling took.
    memory_bytes: temporaries and results, by the compiler's own account;
      arguments are not in it.
  """

  call: Callable
  compile_seconds: float
  memory_bytes: int


def build(function: Callable, *args, clock=time.perf_counter) -> Program:
  """Returns `function` compiled for `args`, arrays or ShapeDtypeStructs."""
  start = clock()
  compiled = jax.jit(function).lower(*args).compile()
  seconds = clock() - start
  memory = compiled.memory_analysis()
  return Program(
    compiled,
    seconds,
    memory.temp_size_in_bytes + memory.output_size_in_bytes,
  )


def alternate(
  calls: Mapping[str, Callable],
  inputs: Callable[[int], tuple],
  *,
  rounds: int,
  clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], dict[str, str]]:
  """Returns median seconds of every call, and why others have none.

  Each call first runs to warm up, which also tells how often it is to be
  repeated within a measurement; one that raises is left out from then on.

  Args:
    calls: name -> function of the inputs; its results may be on a device.
    inputs: `inputs(round)` makes what all calls of a round get.
    rounds: how many measurements of each call.
    clock: seconds, monotonic.

  Returns:
    (seconds by name, first line of the error by name); each name is in one.
  """
  taken, repeats, errors = {}, {}, {}
  for turn in range(rounds + 1):
    args = jax.block_until_ready(inputs(turn))
    for name, call in calls.items():
      if name in errors:
        continue
      # A kernel may fail with any error, and the others are still to be timed.
      try:
        if turn == 0:
          repeats[name] = _warm_up(call, args, clock)
        else:
          seconds = _measure(call, args, repeats[name], clock)
          taken.setdefault(name, []).append(seconds)
      except Exception as error:
        errors[name] = reason(error)
  medians = {
    name: statistics.median(values)
    for name, values in taken.items()
    if name not in errors
  }
  return medians, errors


def reason(error: Exception) -> str:
  """Returns one line that says what went wrong."""
  lines = [line for line in str(error).splitlines() if line.strip()]
  return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"[:200]


def available_bytes() -> int | None:
  """Returns the memory a program can still have here, None where unknown."""
  device = jax.local_devices()[0]
  statistics_of_device = device.memory_stats() or {}
  if "bytes_limit" in statistics_of_device:
    in_use = statistics_of_device.get("bytes_in_use", 0)
    return statistics_of_device["bytes_limit"] - in_use
  if device.platform != "cpu":
    return None
  try:
    with open("/proc/meminfo", encoding="ascii") as lines:
      sizes = dict(line.split(":") for line in lines)
  except OSError:
    return None
  return int(sizes["MemAvailable"].split()[0]) * 1024


def _measure(call, args, repeats, clock):
  start = clock()
  for _ in range(repeats):
    result = call(*args)
  jax.block_until_ready(result)
  return (clock() - start) / repeats


def _warm_up(call, args, clock) -> int:
  """Runs a call; returns how often to repeat it within a measurement."""
  seconds = _measure(call, args, 1, clock)
  if seconds > FIRST_RUN_SECONDS:
    return 1
  seconds = _measure(call, args, 1, clock)
  return max(1, math.ceil(SHORTEST_SECONDS / max(seconds, 1e-6)))
