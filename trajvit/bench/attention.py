"""`trajvit bench attention`: sparse attention against dense, and the ideal."""

import dataclasses

import jax

from trajvit.bench import attention_tables as tables
from trajvit.bench import cases as masks
from trajvit.bench import machine, results, stopwatch
from trajvit.bench.roofline import measure_ceilings
from trajvit.bench.sweep import DENSE_OF_PLATFORM, Settings, sweep
from trajvit.ops.attention import IMPLEMENTATIONS
from trajvit.ops.attention.density import density_table, format_table

DENSITIES = (0.05, 0.1, 0.25, 0.5, 1.0)
LENGTHS = (4096, 8192)


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
  add("--head-dim", type=int, default=64)
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
  add("--out", help="JSON file to write")
  add("--markdown", help="Markdown file to write")


def run(args):
  """Times, prints the tables and writes what was asked for."""
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  if args.density_table:
    grids = [_grid(args, length) for length in args.lengths]
    print(format_table(density_table(grids, args.block_key)))
    return 0
  # All names are read before anything is timed.
  cases = {length: _cases(args, length) for length in args.lengths}
  settings = _settings(args)
  ceilings = default_ceilings(settings.dtype, args.rounds)
  print(tables.ceiling_line(ceilings), flush=True)
  rows = []
  for length in args.lengths:
    rows += sweep(length, cases[length], settings, ceilings)
  lines = tables.break_even_lines(rows) + tables.failures(rows)
  print("\n".join(["", tables.tables(rows), "", *lines]))
  results.write(
    args.out,
    args.markdown,
    {
      "machine": about,
      "ceilings": dataclasses.asdict(ceilings),
      "settings": dataclasses.asdict(settings),
      "rows": rows,
      "break_even": tables.break_evens(rows),
    },
    [("Results", tables.markdown(rows, lines)), ("Reading it", tables.ABOUT)],
    title="Block-sparse attention",
    preface=[*preface, tables.ceiling_line(ceilings)],
  )
  return int(any(row["errors"] for row in rows))


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


def default_ceilings(dtype, rounds):
  """Returns the ceilings of this device, at sizes that suit its platform."""
  small = jax.default_backend() == "cpu"
  size, megabytes = (1536, 128) if small else (8192, 2048)
  return measure_ceilings(dtype, size=size, megabytes=megabytes, rounds=rounds)


def _settings(args) -> Settings:
  platform = jax.default_backend()
  return Settings(
    implementations=tuple(args.implementation),
    dense=(args.dense or DENSE_OF_PLATFORM[platform],),
    batch=args.batch,
    heads=args.heads,
    head_dim=args.head_dim,
    dtype=args.dtype or ("float32" if platform == "cpu" else "bfloat16"),
    backward=not args.forward_only,
    rounds=args.rounds,
    memory_bytes=stopwatch.available_bytes(),
  )
