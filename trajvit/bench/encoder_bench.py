"""What encoders of one size cost on clips of one length, a row each."""

import functools
from collections.abc import Iterator

import numpy as np

from trajvit.bench import stopwatch
from trajvit.bench.encoder_cases import BASELINE, Case, model_spec
from trajvit.bench.encoder_clips import Clips
from trajvit.bench.encoder_programs import STEPS, EncoderPrograms
from trajvit.layers.sizes import Size
from trajvit.plan.recompute import with_policy


class EncoderBench:
  """Measures encoders, each in turns with the baseline.

  Args:
    dtype: of the products.
    remat: what blocks compute twice, a name in `layers.remat.POLICIES`.
    rounds: medians are over so many runs.
    limit: seconds; what is expected to take longer a run is not run. The
      expectation is by FLOPs, at the speed of the baseline that ran first; what
      then takes twice as long runs once. 0 runs nothing.
    memory: whether what is not run is compiled, too, for its memory.
    memory_bytes: what needs more is not run; None is no limit.
  """

  def __init__(
    self,
    *,
    dtype: str,
    remat: str = "none",
    rounds: int = 3,
    limit: float = 60.0,
    memory: bool = True,
    memory_bytes: int | None = None,
  ):
    self.dtype, self.remat = dtype, remat
    self.rounds, self.limit = rounds, limit
    self.memory, self.memory_bytes = memory, memory_bytes
    self._flops_per_second = {}

  def rows(
    self,
    cases: dict[str, Case],
    counts: dict[str, np.ndarray],
    size: Size,
    clips: Clips,
  ) -> Iterator[dict]:
    """Yields a row for each case, the baseline's first.

    Args:
      cases: by name, the baseline among them.
      counts: tokens of clips, of the cases that depend on them.
      size: of the trunk.
      clips: that are encoded, a batch a run.

    Yields:
      `encoder`; `tokens`, their mean, None where nobody can tell; the fields of
      `Costs`; for "forward" and "step" `<name>_mib` if they were compiled, and
      if they ran `<name>_ms`, of a clip; `gflops_ratio`, and `<name>_ratio`
      from runs in turns, to the baseline; and `notes`, why something is
      missing, by name.
    """
    rest = {name: case for name, case in cases.items() if name != BASELINE}
    programs, whole = self._prepare(BASELINE, cases, counts, size, clips)
    self._time({BASELINE: (programs, whole)}, clips)
    self._remember_speed(whole, clips)
    yield whole
    for name in rest:
      other, row = self._prepare(name, rest, counts, size, clips)
      if other is not None:
        row["gflops_ratio"] = _ratio(row, whole, "gflops")
        again = whole | {"notes": {}}
        self._time({name: (other, row), BASELINE: (programs, again)}, clips)
        for step in STEPS:
          row[f"{step}_ratio"] = _ratio(row, again, f"{step}_ms")
        other.free()
      yield row
    if programs is not None:
      programs.free()

  def _prepare(self, name, cases, counts, size, clips):
    """Traces and compiles; returns the programs, or None, and a first row."""
    case, found, slots = cases[name], counts.get(name), None
    if case.mean_slots:
      slots = int(np.ceil(found.mean()))
    row = dict(encoder=name, tokens=None, notes={})
    if found is not None:
      row["tokens"] = float(found.mean())
    spec = model_spec(
      case, size, clips.context["clip_shape"], slots=slots, dtype=self.dtype
    )
    # One that cannot be built or compiled is a result, too.
    try:
      programs = EncoderPrograms(
        with_policy(spec, self.remat), clips.context, clips.batches[0]
      )
      row |= vars(programs.costs())
      if not case.counted:
        row["tokens"] = float(row["slots"])
      for step in STEPS:
        if self.memory or self._too_long(row, step, clips.batch_size) is None:
          row[f"{step}_mib"] = programs.compile(step)
    except Exception as error:
      row["notes"]["failed"] = stopwatch.reason(error)
      return None, row
    return programs, row

  def _time(self, turns, clips):
    """Runs what may run, in turns, and puts times and notes into the rows.

    Args:
      turns: {name: (programs, row)}; what the first cannot run no other has to.
      clips: a batch a run.
    """
    calls, steps = {}, STEPS
    for name, (programs, row) in turns.items():
      runnable = []
      for step in steps if programs is not None else ():
        reason = self._reason_not_to_run(row, step, clips.batch_size)
        if reason is None:
          runnable.append(step)
          row.pop(f"{step}_ms", None)
          calls[name, step] = programs.call(step, 2 * self.limit)
        else:
          row["notes"][step] = f"not run, {reason}"
      steps = runnable
    inputs = functools.partial(_batch, clips)
    seconds, errors = stopwatch.alternate(calls, inputs, rounds=self.rounds)
    for (name, step), taken in seconds.items():
      turns[name][1][f"{step}_ms"] = 1000 * taken / clips.batch_size
    for (name, step), error in errors.items():
      turns[name][1]["notes"][step] = error

  def _reason_not_to_run(self, row, step, batch_size) -> str | None:
    need = (row.get(f"{step}_mib") or 0) * 2**20
    if self.memory_bytes is not None and need > self.memory_bytes:
      free = self.memory_bytes / 2**30
      return f"needs {need / 2**30:.1f} GiB, {free:.1f} GiB are free"
    return self._too_long(row, step, batch_size)

  def _too_long(self, row, step, batch_size) -> str | None:
    if self.limit <= 0:
      return "the time limit is 0"
    speed = self._flops_per_second.get(step)
    if speed is not None:
      expected = _flops(row, step, batch_size) / speed
      if expected > self.limit:
        return f"about {expected:.0f} s expected"
    return None

  def _remember_speed(self, row, clips):
    for step in STEPS:
      if row.get(f"{step}_ms") and step not in self._flops_per_second:
        seconds = row[f"{step}_ms"] / 1000
        self._flops_per_second[step] = _flops(row, step, 1) / seconds


def _flops(row, step, batch_size):
  name = "gflops" if step == "forward" else "step_gflops"
  return 1e9 * row[name] * batch_size


def _ratio(row, whole, key) -> float | None:
  mine, theirs = row.get(key), whole.get(key)
  return mine / theirs if mine and theirs else None


def _batch(clips, turn):
  return (clips.batches[turn % len(clips.batches)],)
