"""Times attention over masks, against dense attention of the same platform."""

import dataclasses
import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.bench import stopwatch
from trajvit.bench.cases import Case, count_logits, density
from trajvit.bench.roofline import (
  Ceilings,
  backward_work,
  break_even,
  forward_work,
  ideal_seconds,
)
from trajvit.ops.attention import BlockMask, attention

# The dense attention of each platform that the field would otherwise use.
DENSE_OF_PLATFORM = {"gpu": "cudnn", "tpu": "splash", "cpu": "reference"}


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the calls of a sweep have in common.

  Attributes:
    implementations: names of sparse implementations.
    dense: implementation of the baseline.
    batch: B.
    heads: K.
    head_dim: d.
    dtype: of query, key, value and output.
    backward: whether to time gradients too.
    rounds: medians are over so many runs.
    memory_bytes: a program that needs more is not run; None runs all.
  """

  implementations: tuple[str, ...]
  dense: str
  batch: int = 1
  heads: int = 1
  head_dim: int = 64
  dtype: str = "float32"
  backward: bool = True
  rounds: int = 5
  memory_bytes: int | None = None

  def steps(self) -> tuple[str, ...]:
    """Returns the names of what is timed of each implementation."""
    return ("forward", "both") if self.backward else ("forward",)


def forward(query, key, value, out_grad, mask, *, implementation):
  """Returns the output; has the arguments of `both`."""
  del out_grad
  return attention(query, key, value, mask=mask, implementation=implementation)


def both(query, key, value, out_grad, mask, *, implementation):
  """Returns the output and the gradients of query, key and value."""

  def run(query, key, value):
    return attention(
      query, key, value, mask=mask, implementation=implementation
    )

  out, pull = jax.vjp(run, query, key, value)
  return out, *pull(out_grad)


STEPS = {"forward": forward, "both": both}


def sweep(
  length: int,
  cases: Sequence[Case],
  settings: Settings,
  ceilings: Ceilings,
  *,
  clock=time.perf_counter,
) -> list[dict]:
  """Returns one row for dense attention and one for each case.

  All programs of a length are compiled first and then run in turns. What fails,
  or does not fit into memory, has a row that says so.

  Args:
    length: N, queries and keys.
    cases: the masks.
    settings: of the calls.
    ceilings: of the device.
    clock: see `stopwatch.alternate`.
  """
  masks = {
    case.name: jax.block_until_ready(jax.jit(case.build)(*case.args))
    for case in cases
  }
  programs = _Programs(settings)
  dense = ("dense", settings.dense)
  shape = (settings.batch, length, settings.heads, settings.head_dim)
  array = jax.ShapeDtypeStruct(shape, jnp.dtype(settings.dtype))
  for step in settings.steps():
    programs.add((*dense, step), _step(step, settings.dense), (array,) * 4)
  for case in cases:
    programs.add_mask(case)
    for name in settings.implementations:
      for step in settings.steps():
        programs.add(
          (case.name, name, step),
          _step(step, name),
          (array,) * 4,
          masks[case.name],
        )
  programs.run(
    functools.partial(_inputs, shape=shape, dtype=array.dtype), clock
  )
  common = dict(
    length=length,
    batch=settings.batch,
    heads=settings.heads,
    head_dim=settings.head_dim,
    dtype=settings.dtype,
  )
  pairs = settings.batch * settings.heads * length
  dense_row = common | dict(mask="dense", implementation=settings.dense)
  dense_row |= dict(density=1.0, full=1.0, tile_efficiency=1.0)
  dense_row |= programs.measured(dense, pairs * length, pairs, ceilings)
  rows = [dense_row]
  for case in cases:
    mask = masks[case.name]
    share, full = density(mask)
    logits = count_logits(mask, settings.batch, settings.heads)
    for name in settings.implementations:
      row = common | dict(mask=case.name, implementation=name)
      row |= dict(
        block_query=mask.block_query,
        block_key=mask.block_key,
        density=share,
        full=full,
        tile_efficiency=_efficiency(case, length, logits, settings),
        mask_ms=programs.milliseconds((case.name, "mask")),
      )
      row |= programs.measured((case.name, name), logits, pairs, ceilings)
      rows.append(row | compare(row, dense_row))
  return rows


def compare(row: dict, dense: dict) -> dict:
  """Returns what only the comparison of a row with the dense row tells.

  Each key is there where both rows have what it takes: for `step` "forward" and
  "both", `<step>_speedup`; `<step>_of_ideal`, the share of the speed that dense
  attention would have if only listed tiles cost any; `<step>_less_memory`; and
  `mask_share`, of mask building in the time of mask and step together.
  """
  found = {}
  for step in STEPS:
    mine, theirs = row.get(f"{step}_ms"), dense.get(f"{step}_ms")
    if mine and theirs:
      found[f"{step}_speedup"] = theirs / mine
      found[f"{step}_of_ideal"] = ideal_seconds(theirs, row["density"]) / mine
    mine, theirs = row.get(f"{step}_mib"), dense.get(f"{step}_mib")
    if mine and theirs:
      found[f"{step}_less_memory"] = theirs / mine
    if row.get(f"{step}_ms") and row.get("mask_ms"):
      total = row["mask_ms"] + row[f"{step}_ms"]
      found["mask_share"] = row["mask_ms"] / total
  return found


def break_evens(rows: Sequence[dict]) -> list[dict]:
  """Returns the break-even density of each implementation at each length.

  Only rows of random tiles count: their tiles are all full, and patterns mix
  full tiles with partial ones.
  """
  found = []
  tiles = [row for row in rows if row["mask"].startswith("random tiles")]
  for row in rows:
    if row["mask"] != "dense":
      continue
    same = [
      other
      for other in tiles
      if all(other[k] == row[k] for k in ("length", "head_dim", "heads"))
    ]
    for name in dict.fromkeys(other["implementation"] for other in same):
      line = {"length": row["length"], "head_dim": row["head_dim"]}
      line["implementation"] = name
      for step in STEPS:
        timed = [
          other
          for other in same
          if other["implementation"] == name and other.get(f"{step}_ms")
        ]
        if row.get(f"{step}_ms"):
          line[step] = break_even(
            [other["density"] for other in timed],
            [other[f"{step}_ms"] for other in timed],
            row[f"{step}_ms"],
          )
      found.append(line)
  return found


class _Programs:
  """The compiled programs of one length, their times and their failures."""

  def __init__(self, settings):
    self._settings = settings
    self._built = {}
    self._calls = {}
    self._errors = {}
    self._skipped = {}
    self._seconds = {}

  def add_mask(self, case):
    """Compiles the building of a mask."""
    self._compile((case.name, "mask"), case.build, case.args, fixed=case.args)

  def add(self, name, function, arrays, mask: BlockMask | None = None):
    """Compiles a step, unless it needs more memory than there is."""
    fixed = () if mask is None else (mask,)
    if mask is None:
      function = functools.partial(function, mask=None)
    self._compile(name, function, (*arrays, *fixed), fixed)

  def _compile(self, name, function, args, fixed):
    # A kernel may fail with any error, and the others are still to be timed.
    try:
      program = stopwatch.build(function, *args)
    except Exception as error:
      self._errors[name] = stopwatch.reason(error)
      return
    self._built[name] = program
    limit = self._settings.memory_bytes
    if limit is not None and program.memory_bytes > limit:
      need, have = (size / 2**30 for size in (program.memory_bytes, limit))
      self._skipped[name] = f"needs {need:.1f} GiB, {have:.1f} GiB are free"
      return
    # The building of a mask has its own arguments, a step those of the round.
    if name[-1] == "mask":
      self._calls[name] = lambda *inputs: program.call(*fixed)
    else:
      self._calls[name] = lambda *inputs: program.call(*inputs, *fixed)

  def run(self, inputs, clock):
    """Times everything that compiled."""
    self._seconds, errors = stopwatch.alternate(
      self._calls, inputs, rounds=self._settings.rounds, clock=clock
    )
    self._errors |= errors

  def milliseconds(self, name) -> float | None:
    """Returns the median, None where there is none."""
    seconds = self._seconds.get(name)
    return None if seconds is None else 1000 * seconds

  def measured(self, name, logits, tokens, ceilings) -> dict:
    """Returns times, memory, shares of the roofline and errors of a row."""
    row, steps = {}, self._settings.steps()
    width = self._settings.head_dim, jnp.dtype(self._settings.dtype).itemsize
    ahead = forward_work(logits, tokens, tokens, *width)
    works = {
      "forward": ahead,
      "both": ahead + backward_work(logits, tokens, tokens, *width),
    }
    errors, skipped = {}, {}
    for step in steps:
      at = (*name, step)
      milliseconds, work = self.milliseconds(at), works[step]
      row[f"{step}_ms"] = milliseconds
      row[f"{step}_gflop"] = work.flops / 1e9
      row[f"{step}_executed_gflop"] = work.executed_flops / 1e9
      if milliseconds:
        share = 1000 * ceilings.seconds(work) / milliseconds
        row[f"{step}_of_roofline"] = share
      if at in self._built:
        program = self._built[at]
        row[f"{step}_mib"] = program.memory_bytes / 2**20
        row[f"{step}_compile_seconds"] = program.compile_seconds
      if at in self._errors:
        errors[step] = self._errors[at]
      if at in self._skipped:
        skipped[step] = self._skipped[at]
    if row.get("both_ms") and row["forward_ms"]:
      row["backward_ms"] = row["both_ms"] - row["forward_ms"]
    return row | {"errors": errors, "skipped": skipped}


def _step(step, implementation):
  return functools.partial(STEPS[step], implementation=implementation)


def _efficiency(case, length, logits, settings):
  """Share of the computed logits that the mask allows."""
  if case.tokens is None:
    return 1.0
  pairs = settings.batch * settings.heads * length**2
  return case.tokens * pairs / logits


@functools.partial(jax.jit, static_argnames=("shape", "dtype"))
def _inputs(turn, *, shape, dtype):
  """Query, key, value and the gradient of the output, new in each round."""
  keys = jax.random.split(jax.random.key(turn), 4)
  return tuple(jax.random.normal(key, shape, dtype) for key in keys)
