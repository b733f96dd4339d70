"""`trajvit bench reducers`: what is left of an encoder that sees fewer tokens.

One trained encoder of space-time patches, every reducer at its place and every
kept fraction, over one seed a run. Training-free reducers are put into the
encoder as it is; those that learn are trained for some steps first, and then a
random choice that was trained as long stands beside them.
"""

import functools

from trajvit.bench import machine, results
from trajvit.bench.reducer_bench import GROUP, ReducerBench
from trajvit.bench.reducer_cases import BASELINE, chosen
from trajvit.bench.reducer_figure import against_cost
from trajvit.bench.results import Section, as_markdown, as_text, significant

KEPT = (0.5, 0.25, 0.1, 0.05)
ABOUT = f"""\
*kept* is the share of the patches for which the reducer had slots; *tokens* the
mean number it left of them, class token included; *R@5* text-to-video recall
among the clips of the gallery, *probe* a linear probe (ridge regression on the
embeddings) for the class of a clip, *choice* how often a clip finds its caption
among {GROUP} that differ in motion alone, all in percent, mean over the runs ±
half the distance between the extremes. *against random* is R@5 less that of a
random choice of as many tokens at the same place: `+` where it is more than the
spread of both together, `-` where it is less, `=` where that cannot be told.
*latency* and *step* are the times of the video tower, forward, and forward and
backward, over those of the encoder without a reducer, both run in turns; the
reducer is in them. Without `--train-steps` the encoder had never seen fewer
tokens.
"""
HEADER = (
  "reducer",
  "kept",
  "tokens",
  "R@5",
  "against random",
  "choice",
  "probe",
  "GFLOPs",
  "latency",
  "step",
)


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  add("runs", nargs="+", help="trained runs of one config, one a seed")
  add("--reducers", nargs="+", help="names; default: all that need no training")
  add("--kept", nargs="+", type=float, default=KEPT, help="shares of patches")
  add("--eval", default="static", help="evaluation of the config: the gallery")
  add("--hard", default="hard", help="likewise, where clips differ in motion")
  add("--clips", type=int, default=256, help="of each gallery")
  add("--probe-clips", type=int, default=512, help="to fit the probe on")
  add(
    "--train-steps",
    type=int,
    default=0,
    help="train every reducer for so many steps; 0 leaves out those that learn",
  )
  add(
    "--step-at",
    type=float,
    default=0.25,
    help="kept share at which the training step is timed; 0 times none",
  )
  add("--rounds", type=int, default=3, help="medians are over so many runs")
  add("--out", help="JSON file to write")
  add("--csv", help="CSV file to write")
  add("--markdown", help="Markdown file to write")
  add("--figure", help="PNG file to write: R@5 against GFLOPs")


def run(args):
  """Measures, prints the table and writes what was asked for."""
  if not all(0 < kept <= 1 for kept in args.kept):
    raise ValueError(f"--kept must be in (0, 1], got {args.kept}")
  cases = chosen(args.reducers, learned=args.train_steps > 0)
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  bench = ReducerBench(args)
  rows, refused = [bench.dense()], []
  write = functools.partial(_write, args=args, about=about, preface=preface)
  for case in cases:
    for kept in args.kept:
      try:
        row = bench.measure(case, kept)
      except ValueError as error:  # such as fewer slots than a frame needs
        refused.append(f"{case.label}, kept {kept:g}: {error}")
        print(refused[-1], flush=True)
        continue
      rows.append(row)
      print(_progress(row), flush=True)
    write(rows, refused)
  print("\n" + write(rows, refused).text)


def verdict(row: dict, rows: list[dict]) -> str:
  """Returns whether a row beats a random choice: "+", "-", "=" or "".

  Args:
    row: with `R@5`, (mean, half the distance between the extremes).
    rows: all, that of BASELINE at the same place and share among them.
  """
  for other in rows:
    same = (other["place"], other["kept"]) == (row["place"], row["kept"])
    if same and other["reducer"] == BASELINE != row["reducer"]:
      difference = row["R@5"][0] - other["R@5"][0]
      if abs(difference) <= row["R@5"][1] + other["R@5"][1]:
        return f"= {difference:+.1f}"
      return f"{'+' if difference > 0 else '-'} {difference:+.1f}"
  return ""


def _cells(row, rows):
  name = row["reducer"] + (f" ({row['place']})" if row["place"] else "")

  def spread(value):
    return "-" if value is None else f"{value[0]:.1f} ± {value[1]:.1f}"

  def ratio(value):
    return "-" if value is None else f"{value:.2f}"

  return [
    name + ("" if row.get("changed") != 0 else " [never engaged]"),
    f"{row['kept']:g}",
    f"{row['tokens']:.1f}",
    spread(row["R@5"]),
    verdict(row, rows),
    spread(row["choice"]),
    spread(row["probe"]),
    significant(row["GFLOPs"]) + ("+" if row["unbounded_loops"] else ""),
    ratio(row["latency"]),
    ratio(row.get("step")),
  ]


def _progress(row):
  return (
    f"{row['reducer']} ({row['place']}) kept {row['kept']:g}: "
    f"R@5 {row['R@5'][0]:.1f}, {row['tokens']:.1f} tokens, "
    f"latency {row['latency']:.2f}"
  )


def _write(rows, refused, *, args, about, preface):
  """Writes all files; returns the table, and what is not in it, as a section.

  Args:
    rows: of the table.
    refused: why a reducer is not in it at some share.
    args: of the command.
    about: of `machine.describe`.
    preface: of `machine.header`.
  """
  cells = [_cells(row, rows) for row in rows]
  left_out = "".join(f"\nleft out: {line}" for line in refused)
  section = Section(
    "Reducers",
    rows + [{"refused": line} for line in refused],
    as_text(HEADER, cells) + left_out,
    as_markdown(HEADER, cells) + left_out.replace("\n", "\n\n"),
  )
  results.write(
    [section],
    about,
    preface,
    title="Token reduction",
    about=ABOUT,
    out=args.out,
    markdown=args.markdown,
  )
  if args.csv:
    results.write_csv(args.csv, HEADER, cells)
  if args.figure:
    against_cost(rows, args.figure)
  return section
