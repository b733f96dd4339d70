"""`trajvit bench attention`: sparse attention against dense, and the ideal."""

import dataclasses
import itertools
from collections.abc import Iterator

import jax

from trajvit.bench import attention_plan, machine, results, stopwatch, suite
from trajvit.bench import attention_tables as tables
from trajvit.bench import cases as masks
from trajvit.bench.results import Section
from trajvit.bench.roofline import measure_ceilings
from trajvit.bench.sweep import DENSE_OF_PLATFORM, Settings, sweep
from trajvit.bench.topology import TOPOLOGIES
from trajvit.ops.attention import IMPLEMENTATIONS
from trajvit.ops.attention.grids.density import density_table, format_table

DENSITIES = (0.05, 0.1, 0.25, 0.5, 1.0)
LENGTHS = (4096, 8192)
# Size of the matrices and MiB of the copy that the ceilings are measured with.
CPU_CEILINGS = (1536, 128)
ACCELERATOR_CEILINGS = (8192, 2048)


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  add("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens")
  add(
    "--densities",
    type=float,
    nargs="*",
    default=DENSITIES,
    help="shares of the tiles, full ones at random places",
  )
  add(
    "--patterns",
    nargs="*",
    default=(),
    metavar="NAME[:KEY=VALUE,...][@ORDER]",
    help="on a grid of patches, such as window:t=2,y=3,x=3@tile",
  )
  add(
    "--frame",
    type=int,
    nargs=2,
    default=(16, 16),
    metavar=("H", "W"),
    help="patches of a frame, for patterns",
  )
  add(
    "--traced",
    action="store_true",
    help="time patterns with the lists that are made inside jit",
  )
  add(
    "--density-table",
    action="store_true",
    help="only print how dense patterns are in every order of the tokens",
  )
  add("--batch", type=int, default=1)
  add("--heads", type=int, default=1)
  add("--head-dim", type=int, nargs="+", default=(64,))
  add("--dtype", help="default: float32 on a CPU, bfloat16 elsewhere")
  add("--block-query", type=int, default=128, help="queries in a tile")
  add("--block-key", type=int, default=128, help="keys in a tile")
  add(
    "--implementation",
    nargs="+",
    choices=IMPLEMENTATIONS,
    default=["auto"],
    help="of the sparse attention",
  )
  add(
    "--dense",
    choices=IMPLEMENTATIONS,
    help="the baseline; default: cudnn on a GPU, splash on a TPU, reference on "
    "a CPU",
  )
  add("--forward-only", action="store_true", help="do not time gradients")
  add("--rounds", type=int, default=5, help="medians are over so many runs")
  add("--seed", type=int, default=0, help="of the random tiles")
  add(
    "--tpu",
    nargs="+",
    choices=TOPOLOGIES,
    default=(),
    help="only compile the kernels for these, which need not be at hand",
  )
  add(
    "--suite",
    choices=suite.SUITES,
    help="measure all of a preset, instead of what the other options say",
  )
  add("--out", help="JSON file to write")
  add("--markdown", help="Markdown file to write")


def run(args):
  """Measures, prints the tables and writes what was asked for."""
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  sections = []
  for section in _sections(args):
    print(f"\n{section.title}\n\n{section.text}", flush=True)
    sections.append(section)
    # After each, so that what was measured is kept whatever comes next.
    results.write(
      sections,
      about,
      preface,
      title="Block-sparse attention",
      about=attention_plan.ABOUT if args.tpu else tables.ABOUT,
      out=args.out,
      markdown=args.markdown,
    )
  return int(any(section.failed for section in sections))


def _sections(args) -> Iterator[Section]:
  """What the arguments ask for: a part at a time."""
  if args.density_table:
    grids = [_grid(args, length) for length in args.lengths]
    rows = density_table(grids, args.block_key)
    page = format_table(rows)
    yield Section("Density", [_plain(row) for row in rows], page, page)
  elif args.tpu:
    jobs = attention_plan.jobs(
      args.tpu,
      args.lengths,
      args.head_dim,
      heads=args.heads,
      dtype=args.dtype or "bfloat16",
      block_query=args.block_query,
      block_key=args.block_key,
    )
    yield attention_plan.section(jobs)
  elif args.suite:
    yield from suite.run(suite.SUITES[args.suite], seed=args.seed)
  else:
    yield from _sweeps(args)


def _sweeps(args):
  # All names are read before anything is timed.
  cases = {length: _cases(args, length) for length in args.lengths}
  dtype = args.dtype or _on_platform("float32", "bfloat16")
  size, megabytes = _on_platform(CPU_CEILINGS, ACCELERATOR_CEILINGS)
  ceilings = measure_ceilings(
    dtype, size=size, megabytes=megabytes, rounds=args.rounds
  )
  yield tables.ceiling_section(ceilings)
  for length, head_dim in itertools.product(args.lengths, args.head_dim):
    settings = Settings(
      implementations=tuple(args.implementation),
      dense=(args.dense or DENSE_OF_PLATFORM[jax.default_backend()],),
      batch=args.batch,
      heads=args.heads,
      head_dim=head_dim,
      dtype=dtype,
      backward=not args.forward_only,
      rounds=args.rounds,
      memory_bytes=stopwatch.available_bytes(),
    )
    rows = sweep(length, cases[length], settings, ceilings)
    yield tables.section(f"{length} tokens, head dimension {head_dim}", rows)


def _on_platform(cpu, accelerator):
  return cpu if jax.default_backend() == "cpu" else accelerator


def _plain(row) -> dict:
  """A row of the density table as JSON."""
  plain = dict(grid=row.grid, pattern=str(row.pattern), order=str(row.order))
  return plain | dataclasses.asdict(row.density)


def _cases(args, length):
  blocks = dict(block_query=args.block_query, block_key=args.block_key)
  found = [
    masks.random_tiles(length, density, seed=args.seed, **blocks)
    for density in args.densities
  ]
  if args.patterns:
    grid = _grid(args, length)
    found += [
      masks.pattern(text, grid, traced=args.traced, **blocks)
      for text in args.patterns
    ]
  return found


def _grid(args, length) -> tuple[int, int, int]:
  height, width = args.frame
  frames, rest = divmod(length, height * width)
  if rest or not frames:
    raise ValueError(
      f"patterns need lengths of whole frames of {height} x {width} patches, "
      f"got {length}"
    )
  return frames, height, width
