"""All that is measured on a machine at hand for minutes, in one call.

The order is that of what is needed first: ceilings, correctness, the dense
line, densities, shapes of tiles. What fails or finds no time left is reported
as such and stops nothing else; files are written after every section.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

from trajvit.bench import attention_tables as tables
from trajvit.bench import numerics
from trajvit.bench.cases import random_tiles
from trajvit.bench.results import Section
from trajvit.bench.roofline import Ceilings, measure_ceilings
from trajvit.bench.stopwatch import available_bytes, reason
from trajvit.bench.sweep import Settings, sweep


@dataclasses.dataclass(frozen=True)
class Suite:
  """What to measure, and in how much time.

  Attributes:
    minutes: nothing is begun after them.
    implementations: of sparse attention.
    dense: baselines; ratios are to the first.
    dtype: of what is timed.
    ceilings: (size of the matrices, MiB of the copy).
    checked: (lengths, head dimensions, dtypes) of the numeric check.
    lines: (length, heads, head dimension) of dense attention and full lists.
    densities: of the sweep.
    swept: (length, heads, head dimension) of the sweep.
    tiles: (queries, keys) of the tiles that are compared.
    tiled: (length, heads, head dimension, density) they are compared at.
    block: (queries, keys) of a tile everywhere else.
    rounds: medians are over so many runs.
  """

  minutes: float
  implementations: tuple[str, ...]
  dense: tuple[str, ...]
  dtype: str
  ceilings: tuple[int, int]
  checked: tuple[tuple, tuple, tuple]
  lines: tuple[tuple[int, int, int], ...]
  densities: tuple[float, ...]
  swept: tuple[tuple[int, int, int], ...]
  tiles: tuple[tuple[int, int], ...]
  tiled: tuple[tuple[int, int, int, float], ...]
  block: tuple[int, int] = (128, 128)
  rounds: int = 5


SUITES = {
  "h200": Suite(
    minutes=7,
    implementations=("pallas_gpu",),
    dense=("cudnn", "reference"),
    dtype="bfloat16",
    ceilings=(8192, 2048),
    checked=((385, 1024), (64, 128), ("bfloat16", "float32")),
    lines=tuple(
      (length, heads, dim)
      for length, heads in ((4096, 96), (16384, 16), (65536, 4))
      for dim in (64, 128)
    ),
    densities=(1 / 32, 1 / 16, 0.1, 1 / 8, 1 / 4, 1 / 2, 1.0),
    swept=((16384, 16, 64), (32768, 16, 64), (12544, 96, 64)),
    tiles=((64, 64), (128, 32), (128, 64), (128, 128), (64, 128)),
    tiled=((16384, 16, 64, 1 / 8), (16384, 16, 128, 1 / 8)),
  ),
  # The same on any machine in seconds: shows that a suite runs, and no speed.
  "tiny": Suite(
    minutes=5,
    implementations=("xla",),
    dense=("reference",),
    dtype="float32",
    ceilings=(256, 8),
    checked=((97,), (8,), ("float32", "bfloat16")),
    lines=((128, 2, 8),),
    densities=(0.25, 1.0),
    swept=((256, 2, 8),),
    tiles=((32, 32), (64, 32)),
    tiled=((256, 2, 8, 0.25),),
    block=(32, 32),
    rounds=2,
  ),
}


def run(
  suite: Suite, *, seed: int = 0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Section]:
  """Yields one section after the other, each as soon as it is measured.

  Args:
    suite: what to measure.
    seed: of inputs of the numeric check and of random tiles.
    clock: seconds, for the time that is left.
  """
  end = clock() + 60 * suite.minutes
  size, megabytes = suite.ceilings
  ceilings = measure_ceilings(
    suite.dtype, size=size, megabytes=megabytes, rounds=suite.rounds
  )
  yield tables.ceiling_section(ceilings)
  yield tables.numeric_section(_check(suite, seed))
  for title, parts in (
    ("Dense attention and full lists", _lines(suite, seed)),
    ("Density", _densities(suite, seed)),
    ("Shape of the tiles", _tiles(suite, seed)),
  ):
    yield _timed(title, parts, suite, ceilings, end, clock)


def _check(suite, seed):
  lengths, dims, dtypes = suite.checked
  return numerics.check(
    [*suite.implementations, *suite.dense],
    lengths=lengths,
    head_dims=dims,
    dtypes=dtypes,
    block_query=suite.block[0],
    block_key=suite.block[1],
    seed=seed,
  )


def _lines(suite, seed):
  for length, heads, dim in suite.lines:
    yield length, heads, dim, [_tile_case(suite, length, 1.0, seed)]


def _densities(suite, seed):
  for length, heads, dim in suite.swept:
    cases = [_tile_case(suite, length, d, seed) for d in suite.densities]
    yield length, heads, dim, cases


def _tiles(suite, seed):
  for length, heads, dim, density in suite.tiled:
    cases = [
      _tile_case(suite, length, density, seed, block) for block in suite.tiles
    ]
    yield length, heads, dim, cases


def _tile_case(suite, length, density, seed, block=None):
  block_query, block_key = block or suite.block
  return random_tiles(
    length, density, block_query=block_query, block_key=block_key, seed=seed
  )


def _timed(title, parts, suite, ceilings: Ceilings, end, clock) -> Section:
  """Times parts (length, heads, head dimension, cases) while there is time."""
  rows, notes = [], []
  for length, heads, dim, cases in parts:
    what = f"{length} tokens, {heads} x {dim}"
    if clock() > end:
      notes.append(f"{what}: no time left")
      continue
    settings = Settings(
      implementations=suite.implementations,
      dense=suite.dense,
      heads=heads,
      head_dim=dim,
      dtype=suite.dtype,
      rounds=suite.rounds,
      memory_bytes=available_bytes(),
    )
    # What one shape fails with is not to keep the others from being timed.
    try:
      rows += sweep(length, cases, settings, ceilings)
    except Exception as error:
      notes.append(f"{what}: {reason(error)}")
  return tables.section(title, rows, notes)
