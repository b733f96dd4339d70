"""`trajvit bench packing`: how full packed rows are, and what they save.

Groups are sized by `data.packing.suggest`, then tried on clips drawn anew. A
training step is timed with the clips packed and padded to the longest of all,
in turns, in one process.
"""

import dataclasses
import functools

import jax
import numpy as np

from trajvit.bench import machine, results, stopwatch
from trajvit.bench.packed_step import Steps, Trunk
from trajvit.bench.results import Section
from trajvit.bench.token_counts import TRACKS
from trajvit.data.packing import measure, plan, suggest
from trajvit.ops import packing as ops
from trajvit.types import PackedGroup

# counts -> clips in a group: counts that vary more need more clips to even out.
CLIPS = {"sprites": 64, "videos": 256}
GROUPS_TRIED = 64
# The step is to be faster by at least this share of what it saves in slots.
WANTED_SHARE = 0.8
ABOUT = """\
A slot is the place of a token in the encoder, the class token's included.
*Fill* is the share of the slots that hold a token, *overflow* the share of the
tokens that find no slot, both over clips drawn anew from the measured counts
(`trajvit/bench/token_counts.py`). *Slots saved* is the number of slots with all
clips padded to the longest, over that of the packed rows; *faster* is the time
of a padded training step over that of a packed one, and *of the saving* the
second over the first.
"""
HEADER = ("counts", "planned by", "group", "fill", "overflow")
STEP_HEADER = ("counts", "step", "ms", "slots saved", "faster", "of the saving")


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  add("--counts", nargs="+", choices=TRACKS, default=tuple(TRACKS))
  add("--clips", type=int, help="of a group; default: 64, for videos 256")
  add("--overflow", type=float, default=1e-3, help="share of tokens to lose")
  add("--width", type=int, help="of the encoder; default: 192, or 768")
  add("--depth", type=int, help="of the encoder; default: 12")
  add("--heads", type=int, help="of the encoder; default: 3, or 12")
  add("--dtype", help="default: float32 on a CPU, bfloat16 elsewhere")
  add("--rounds", type=int, default=5, help="medians are over so many runs")
  add("--fill-only", action="store_true", help="time nothing")
  add("--out", help="JSON file to write")
  add("--markdown", help="Markdown file to write")


def run(args):
  """Measures, prints the tables and writes what was asked for."""
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  sections = []
  for name in args.counts:
    for section in _sections(args, name):
      print(f"\n{section.title}\n\n{section.text}", flush=True)
      sections.append(section)
      results.write(
        sections,
        about,
        preface,
        title="Packing",
        about=ABOUT,
        out=args.out,
        markdown=args.markdown,
      )


def _sections(args, name):
  counts = TRACKS[name] + 1  # the class token
  clips = args.clips or CLIPS[name]
  group = suggest(counts, clips=clips, overflow=args.overflow)
  yield fill_section(name, counts, group)
  if not args.fill_only:
    yield step_section(name, counts, group, _trunk(args), args.rounds)


def fill_section(name: str, counts: np.ndarray, group: PackedGroup) -> Section:
  """Returns fill and overflow by either planner.

  Args:
    name: of the counts.
    counts: [n] integers, tokens of clips.
    group: size of the groups.
  """
  drawn = np.random.default_rng(1).choice(counts, GROUPS_TRIED * group.clips)
  host = measure(drawn, plan(drawn, group))
  mask = np.arange(counts.max()) < drawn[:, None]
  placement = _place(mask, group)
  device = dict(
    fill=float((placement.source >= 0).mean()),
    overflow=float(placement.overflow / drawn.sum()),
  )
  rows = [
    dict(counts=name, planner=planner, group=vars(group), **found)
    for planner, found in (
      ("loader", dataclasses.asdict(host)),
      ("device", device),
    )
  ]
  size = f"{group.clips} clips: {group.rows} x {group.length}"
  cells = [
    (
      name,
      row["planner"],
      size,
      results.percent(row["fill"], 1),
      results.percent(row["overflow"], 2),
    )
    for row in rows
  ]
  return _section(f"Fill, {name}", rows, HEADER, cells)


def step_section(
  name: str, counts: np.ndarray, group: PackedGroup, trunk: Trunk, rounds: int
) -> Section:
  """Returns the time of a training step, padded and packed.

  Args:
    name: of the counts.
    counts: [n] integers, tokens of clips, the class token included.
    group: of the packed steps.
    trunk: the encoder.
    rounds: how many times each step is timed.
  """
  steps = Steps(counts - 1, group, trunk)
  seconds, errors = stopwatch.alternate(
    steps.calls, steps.inputs, rounds=rounds
  )
  padded_slots = group.clips * int(counts.max())
  saved = padded_slots / (group.rows * group.length)
  rows, cells = [], []
  for call, taken in seconds.items():
    row = dict(counts=name, step=call, ms=1e3 * taken)
    if call != "padded" and "padded" in seconds:
      faster = seconds["padded"] / taken
      row |= dict(slots_saved=saved, faster=faster, of_saving=faster / saved)
    rows.append(row)
    cells.append(
      (
        name,
        call,
        results.significant(row["ms"]),
        *(_times(row.get(key)) for key in ("slots_saved", "faster")),
        results.percent(row.get("of_saving")),
      )
    )
  title = (
    f"Training step, {name}: width {trunk.width}, depth {trunk.depth}, "
    f"{trunk.dtype}; {results.percent(steps.encoder_share)} of the padded "
    f"FLOPs are the encoder's; at least {results.percent(WANTED_SHARE)} of "
    "the saving are wanted"
  )
  rows += [dict(counts=name, step=k, error=v) for k, v in errors.items()]
  cells += [(name, f"{k}: {v}", *"----") for k, v in errors.items()]
  return _section(title, rows, STEP_HEADER, cells, failed=bool(errors))


@functools.partial(jax.jit, static_argnums=1)
def _place(mask, group):
  return ops.place(mask, ops.plan(mask.sum(-1), group))


def _trunk(args) -> Trunk:
  small = jax.default_backend() == "cpu"
  return Trunk(
    width=args.width or (192 if small else 768),
    depth=args.depth or 12,
    heads=args.heads or (3 if small else 12),
    dtype=args.dtype or ("float32" if small else "bfloat16"),
  )


def _times(value):
  return "-" if value is None else results.times(value)


def _section(title, rows, header, cells, failed=False):
  text = results.as_text(header, cells)
  return Section(title, rows, text, results.as_markdown(header, cells), failed)
