"""`trajvit bench attention`: sparse attention against dense, and the ideal."""

import dataclasses

import jax

from trajvit.bench import attention_tables as tables
from trajvit.bench import machine, results, stopwatch
from trajvit.bench.cases import random_tiles
from trajvit.bench.roofline import measure_ceilings
from trajvit.bench.sweep import (
  DENSE_OF_PLATFORM,
  Settings,
  break_evens,
  sweep,
)
from trajvit.ops.attention import IMPLEMENTATIONS

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
  """Times, prints the table and writes what was asked for."""
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  settings = _settings(args)
  ceilings = default_ceilings(settings.dtype, args.rounds)
  print(tables.ceiling_line(ceilings), flush=True)
  rows = []
  for length in args.lengths:
    cases = [
      random_tiles(
        length,
        density,
        block_query=args.block_query,
        block_key=args.block_key,
        seed=args.seed,
      )
      for density in args.densities
    ]
    rows += sweep(length, cases, settings, ceilings)
  found = break_evens(rows)
  lines = tables.break_even_lines(found) + tables.failures(rows)
  print(f"\n{tables.tables(rows)}\n")
  print("\n".join(lines))
  results.write(
    args.out,
    args.markdown,
    {
      "machine": about,
      "ceilings": dataclasses.asdict(ceilings),
      "settings": dataclasses.asdict(settings),
      "rows": rows,
      "break_even": found,
    },
    [("Results", tables.markdown(rows, lines)), ("Reading it", tables.ABOUT)],
    title="Block-sparse attention",
    preface=[*preface, tables.ceiling_line(ceilings)],
  )
  return int(any(row["errors"] for row in rows))


def default_ceilings(dtype, rounds):
  """Returns the ceilings of this device, at sizes that suit its platform."""
  small = jax.default_backend() == "cpu"
  size, megabytes = (1536, 128) if small else (8192, 2048)
  return measure_ceilings(dtype, size=size, megabytes=megabytes, rounds=rounds)


def _settings(args) -> Settings:
  platform = jax.default_backend()
  return Settings(
    implementations=tuple(args.implementation),
    dense=args.dense or DENSE_OF_PLATFORM[platform],
    batch=args.batch,
    heads=args.heads,
    head_dim=args.head_dim,
    dtype=args.dtype or ("float32" if platform == "cpu" else "bfloat16"),
    backward=not args.forward_only,
    rounds=args.rounds,
    memory_bytes=stopwatch.available_bytes(),
  )
