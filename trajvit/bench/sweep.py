"""Times attention over masks, against dense attention of the same platform."""

import dataclasses
import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.bench.cases import Case, count_logits
from trajvit.bench.programs import Programs, Result
from trajvit.bench.roofline import (
  Ceilings,
  Work,
  backward_work,
  forward_work,
  ideal_seconds,
)
from trajvit.ops.attention import attention
from trajvit.ops.attention.grids.density import measure

# The dense attention of each platform that the field would otherwise use.
DENSE_OF_PLATFORM = {"gpu": "cudnn", "tpu": "splash", "cpu": "reference"}


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the calls of a sweep have in common.

  Attributes:
    implementations: names of sparse implementations.
    dense: of baselines; ratios are to the first.
    batch: B.
    heads: K.
    head_dim: d.
    dtype: of query, key, value and output.
    backward: whether to time gradients too.
    rounds: medians are over so many runs.
    memory_bytes: a program that needs more is not run; None runs all.
  """

  implementations: tuple[str, ...]
  dense: tuple[str, ...]
  batch: int = 1
  heads: int = 1
  head_dim: int = 64
  dtype: str = "float32"
  backward: bool = True
  rounds: int = 5
  memory_bytes: int | None = None

  def steps(self) -> dict:
    """Returns what is timed of each implementation, by name."""
    return STEPS if self.backward else {"forward": forward}


def forward(query, key, value, out_grad, mask=None, *, implementation):
  """Returns the output; has the arguments of `both`."""
  del out_grad
  return attention(query, key, value, mask=mask, implementation=implementation)


def both(query, key, value, out_grad, mask=None, *, implementation):
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
  """Returns a row for each dense baseline and for each case.

  All programs of a length are compiled first and then run in turns. What fails
  has its reason in the row's `errors`, by step, what needs more memory than
  there is in `skipped`.

  Args:
    length: N, queries and keys.
    cases: the masks.
    settings: of the calls.
    ceilings: of the device.
    clock: see `stopwatch.alternate`.
  """
  shape = (settings.batch, length, settings.heads, settings.head_dim)
  array = jax.ShapeDtypeStruct(shape, jnp.dtype(settings.dtype))
  masks = [case.mask() for case in cases]
  programs = Programs(settings.memory_bytes)
  # One object for each, so that masks of equal shape share a program.
  functions = {
    (name, step): functools.partial(function, implementation=name)
    for name in (*settings.dense, *settings.implementations)
    for step, function in settings.steps().items()
  }

  def add(case, name, fixed=()):
    for step in settings.steps():
      function = functions[name, step]
      programs.add((case, name, step), function, (array,) * 4, fixed)

  for name in settings.dense:
    add("dense", name)
  for i, (case, mask) in enumerate(zip(cases, masks, strict=True)):
    programs.add((i, "mask"), case.build, fixed=case.args)
    for name in settings.implementations:
      add(i, name, (mask,))
  draw = functools.partial(_draw, shape=shape, dtype=array.dtype)
  programs.run(draw, settings.rounds, clock)

  def row(case, name, logits):
    works = _works(logits, settings, length)
    common = dict(implementation=name, length=length) | {
      key: getattr(settings, key)
      for key in ("batch", "heads", "head_dim", "dtype")
    }
    results = {
      step: programs.results[case, name, step] for step in settings.steps()
    }
    return common | _measured(results, works, ceilings)

  everything = settings.batch * settings.heads * length**2
  full = dict(mask="dense", token_density=1.0, density=1.0, tile_efficiency=1.0)
  rows = [full | row("dense", name, everything) for name in settings.dense]
  baseline = rows[0]
  for i, (case, mask) in enumerate(zip(cases, masks, strict=True)):
    logits = count_logits(mask, settings.batch, settings.heads)
    about = dict(mask=case.name) | dataclasses.asdict(measure(mask))
    about["density"] = about.pop("block_density")
    about |= dict(block_query=mask.block_query, block_key=mask.block_key)
    about["mask_ms"] = _milliseconds(programs.results[i, "mask"])
    for name in settings.implementations:
      found = about | row(i, name, logits)
      rows.append(found | compare(found, baseline))
  return rows


def compare(row: dict, dense: dict) -> dict:
  """Returns what only the comparison of a row with the dense row tells.

  Each key is there where both rows have what it takes: for `step` "forward" and
  "both", `<step>_speedup`; `<step>_of_ideal`, the share of the speed that dense
  attention would have if only listed tiles cost any; `<step>_less_memory`; and
  `<step>_mask_share`, of mask building in the time of mask and step together.
  """
  found = {}
  for step in STEPS:
    mine, theirs = row.get(f"{step}_ms"), dense.get(f"{step}_ms")
    if mine and theirs:
      found[f"{step}_speedup"] = theirs / mine
      found[f"{step}_of_ideal"] = ideal_seconds(theirs, row["density"]) / mine
    if mine and row.get("mask_ms"):
      found[f"{step}_mask_share"] = row["mask_ms"] / (row["mask_ms"] + mine)
    mine, theirs = row.get(f"{step}_mib"), dense.get(f"{step}_mib")
    if mine and theirs:
      found[f"{step}_less_memory"] = theirs / mine
  return found


def _works(logits, settings, length) -> dict[str, Work]:
  """What each step has to do; queries and keys are as many."""
  rows = settings.batch * settings.heads * length
  width = settings.head_dim, jnp.dtype(settings.dtype).itemsize
  ahead = forward_work(logits, rows, rows, *width)
  back = backward_work(logits, rows, rows, *width)
  return {"forward": ahead, "both": ahead + back}


def _measured(
  results: dict[str, Result], works: dict[str, Work], ceilings: Ceilings
) -> dict:
  """Times, memory, shares of the roofline and errors of a row."""
  row, errors, skipped = {}, {}, {}
  for step, result in results.items():
    work, milliseconds = works[step], _milliseconds(result)
    row[f"{step}_ms"] = milliseconds
    row[f"{step}_gflop"] = work.flops / 1e9
    row[f"{step}_executed_gflop"] = work.executed_flops / 1e9
    if milliseconds:
      share = 1000 * ceilings.seconds(work) / milliseconds
      row[f"{step}_of_roofline"] = share
    if result.program:
      row[f"{step}_mib"] = result.program.memory_bytes / 2**20
      row[f"{step}_compile_seconds"] = result.program.compile_seconds
    if result.error:
      errors[step] = result.error
    if result.skipped:
      skipped[step] = result.skipped
  if row.get("both_ms") and row["forward_ms"]:
    row["backward_ms"] = row["both_ms"] - row["forward_ms"]
  return row | {"errors": errors, "skipped": skipped}


def _milliseconds(result: Result) -> float | None:
  return None if result.seconds is None else 1000 * result.seconds


@functools.partial(jax.jit, static_argnames=("shape", "dtype"))
def _draw(turn, *, shape, dtype):
  """Query, key, value and the gradient of the output, new in each round."""
  keys = jax.random.split(jax.random.key(turn), 4)
  return tuple(jax.random.normal(key, shape, dtype) for key in keys)
