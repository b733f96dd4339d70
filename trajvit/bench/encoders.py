"""`trajvit bench encoders`: what ways to encode a clip cost, on one trunk.

Tokens, FLOPs, parameters and planned memory of each, at several sizes and
lengths, and the time of a forward pass and of a training step where these are
not too long, run in turns with a space-time ViT. Nothing is trained, and no
accuracy is in it.
"""

import collections

import jax

from trajvit.bench import machine, results, stopwatch
from trajvit.bench.encoder_bench import EncoderBench
from trajvit.bench.encoder_cases import (
  BASELINE,
  ENCODERS_COMPARED,
  FRAMES_COMPARED,
  SIZES_COMPARED,
)
from trajvit.bench.encoder_clips import count_tokens, known, read_clips
from trajvit.bench.encoder_figure import costs_figure
from trajvit.bench.results import Section, as_markdown, as_text, significant
from trajvit.layers.remat import POLICIES

HEADER = (
  "encoder",
  "tokens",
  "slots",
  "GFLOPs",
  "tokenizer GFLOPs",
  "GFLOPs / ViT3D",
  "M parameters",
  "forward ms",
  "forward / ViT3D",
  "step ms",
  "step / ViT3D",
  "forward MiB",
  "step MiB",
)
ABOUT = """\
All encoders have the same trunk, a ViT of the size that is named; only what
makes its tokens differs, with the patches that are left inside.
{clips}

- *tokens*: what enters the trunk, mean over the clips; *slots*: the room there
  is for them, which is what costs. TrajTok's count depends on what it has
  learned, and is not given.
- *GFLOPs*: of a clip from the pixels to the embedding, at the slots; those of
  the *tokenizer* up to the features of the tokens are in it. A multiplication
  and an addition are two, and what is neither a product of matrices nor a
  convolution counts as none. Attention counts as if it were dense, also where
  registers read under a pattern and tiles are skipped. `+`: something could not
  be counted.
- *M parameters*: what the embedding of a clip depends on, in millions.
- *forward*, *step*: milliseconds a clip, at {batch} a batch, medians of
  {rounds} runs; a step is the contrastive loss against a text tower of two
  blocks 64 wide, its gradients and AdamW. *forward / ViT3D* and *step / ViT3D*
  are from runs in turns with `vit3d`, and say more than milliseconds of a busy
  machine. What was not run is listed with the reason.
- *MiB*: the peak of a program as the compiler plans it for a batch of {batch},
  in {dtype}, remat "{remat}": variables, and in a step the optimizer's state,
  included. Attention on a CPU and on a GPU without cuDNN has all its logits in
  memory.

{encoders}
"""
SPRITES = """\
Clips are moving sprites of {size} x {size} pixels, of which a camera moves in
about half, with the tracks as rendered; tokens are counted in {count} clips."""
OWN = "Clips are {count} of `{manifest}`, of {size} x {size} pixels."


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  add("--encoders", nargs="+", help="names; default: all")
  add("--sizes", nargs="+", choices=SIZES_COMPARED, default=[*SIZES_COMPARED])
  add("--frames", nargs="+", type=int, default=FRAMES_COMPARED)
  add("--pixels", type=int, default=224, help="rows and columns of a frame")
  add("--batch", type=int, help="clips; default: 2 on a CPU, 8 elsewhere")
  add("--clips", type=int, default=32, help="in which tokens are counted")
  add("--manifest", help="videos with captions, in place of moving sprites")
  add("--root", default="", help="folder that its relative paths start from")
  add("--dtype", help="default: float32 on a CPU, bfloat16 elsewhere")
  add("--remat", choices=POLICIES, default="none", help="of all blocks")
  add("--rounds", type=int, default=3, help="medians are over so many runs")
  add(
    "--time-limit",
    type=float,
    default=60.0,
    help="seconds: a program that would take longer is not run; 0 runs none",
  )
  add(
    "--no-memory",
    action="store_true",
    help="do not compile what is not run, which takes most of the time then",
  )
  add("--out", help="JSON file to write")
  add("--csv", help="CSV file to write")
  add("--markdown", help="Markdown file to write")
  add("--figure", help="PNG file to write: tokens, GFLOPs and time")


def run(args):
  """Measures, prints the tables and writes what was asked for."""
  cases = known([BASELINE, *(args.encoders or ENCODERS_COMPARED)])
  on_cpu = jax.default_backend() == "cpu"
  batch = args.batch or (2 if on_cpu else 8)
  dtype = args.dtype or ("float32" if on_cpu else "bfloat16")
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  bench = EncoderBench(
    dtype=dtype,
    remat=args.remat,
    rounds=args.rounds,
    limit=args.time_limit,
    memory=not args.no_memory,
    memory_bytes=stopwatch.available_bytes(),
  )
  page = _about(args, cases, batch, dtype)
  rows = []
  for frames in args.frames:
    clips = read_clips(
      frames,
      size=args.pixels,
      count=args.clips,
      batch_size=batch,
      manifest=args.manifest,
      root=args.root,
    )
    counts = {
      name: count_tokens(case, clips)
      for name, case in cases.items()
      if case.counted and not case.learned
    }
    for size in args.sizes:
      print(f"\n{_title(size, frames)}", flush=True)
      for row in bench.rows(cases, counts, SIZES_COMPARED[size], clips):
        rows.append(dict(size=size, frames=frames) | row)
        print(_progress(row), flush=True)
        # After each, so that what was measured is kept whatever comes next.
        sections = _write(rows, args, about, preface, page)
      print(f"\n{sections[-1].text}", flush=True)
  return int(any("failed" in row["notes"] for row in rows))


def _title(size, frames):
  return f"{size}, {frames} frames"


def _about(args, cases, batch, dtype):
  clips = SPRITES if args.manifest is None else OWN
  lines = [f"- `{name}`: {case.about}." for name, case in cases.items()]
  return ABOUT.format(
    clips=clips.format(
      size=args.pixels, count=args.clips, manifest=args.manifest
    ),
    batch=batch,
    rounds=args.rounds,
    dtype=dtype,
    remat=args.remat,
    encoders="\n".join(lines),
  )


def _progress(row):
  parts = [
    f"{row[key]:.4g} {key}"
    for key in ("gflops", "forward_ms", "step_ms", "step_mib")
    if row.get(key)
  ]
  notes = [f"{key}: {note}" for key, note in row["notes"].items()]
  return "; ".join([row["encoder"], *parts, *notes])


def _write(rows, args, about, preface, page) -> list[Section]:
  """Writes all files; returns a section for each size and length."""
  titles = dict.fromkeys((row["size"], row["frames"]) for row in rows)
  sections = [
    _section([row for row in rows if (row["size"], row["frames"]) == title])
    for title in titles
  ]
  results.write(
    sections,
    about,
    preface,
    title="Encoders",
    about=page,
    out=args.out,
    markdown=args.markdown,
  )
  if args.csv:
    results.write_csv(
      args.csv,
      ("size", "frames", *HEADER, "notes"),
      [
        (row["size"], str(row["frames"]), *_cells(row), "; ".join(_notes(row)))
        for row in rows
      ],
    )
  if args.figure:
    costs_figure(rows, args.figure)
  return sections


def _section(rows) -> Section:
  header, *cells = _filled([HEADER, *(_cells(row) for row in rows)])
  named = collections.defaultdict(list)
  for row in rows:
    for note in _notes(row):
      named[note].append(row["encoder"])
  notes = [
    f"{note}: {'all' if len(names) == len(rows) else ', '.join(names)}"
    for note, names in named.items()
  ]
  return Section(
    _title(rows[0]["size"], rows[0]["frames"]),
    rows,
    "\n".join([as_text(header, cells), *notes]),
    "\n".join(
      [as_markdown(header, cells), "", *(f"- {x}" for x in notes)]
    ).rstrip(),
    failed=any("failed" in row["notes"] for row in rows),
  )


def _filled(lines):
  """A table without the columns in which nothing is known, header first."""
  columns = zip(*lines, strict=True)
  columns = [column for column in columns if set(column[1:]) != {"-"}]
  return zip(*columns, strict=True)


def _cells(row) -> tuple[str, ...]:
  def ratio(key):
    value = row.get(f"{key}_ratio")
    return "-" if value is None else f"{value:.2f}"

  def number(key, scale=1.0):
    value = row.get(key)
    return significant(None if value is None else value / scale)

  return (
    row["encoder"],
    number("tokens"),
    number("slots"),
    number("gflops") + ("" if row.get("exact", True) else "+"),
    number("tokenizer_gflops"),
    ratio("gflops"),
    number("parameters", 1e6),
    number("forward_ms"),
    ratio("forward"),
    number("step_ms"),
    ratio("step"),
    number("forward_mib"),
    number("step_mib"),
  )


def _notes(row) -> list[str]:
  """What is missing from a row."""
  return [f"{key} {note}" for key, note in row["notes"].items()]
