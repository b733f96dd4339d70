"""`trajvit report RUN...`: compares trained runs on one page."""

import collections

from trajvit.report import shown, table
from trajvit.report.examples import EVALUATOR as RETRIEVAL
from trajvit.report.examples import Query, find_examples
from trajvit.report.page import files_beside, write_page
from trajvit.report.runs import Run, read_run
from trajvit.report.sections import drawn_sections


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument("runs", nargs="+", help="run directories")
  parser.add_argument(
    "--out",
    required=True,
    help="the HTML file to write; what its figures are made of goes into "
    "<name>_files beside it",
  )
  parser.add_argument(
    "--ours", help="method to compare with the others at equal compute"
  )
  parser.add_argument(
    "--clips",
    type=int,
    default=0,
    help="how many clips to draw: the tracks that tokens follow, what comes "
    "back from the tokens, and which tokens may meet. It takes checkpoints",
  )
  parser.add_argument(
    "--examples",
    type=int,
    default=0,
    help="how many captions to show with the clips that each run finds by "
    "them. It takes checkpoints",
  )
  parser.add_argument("--title", default="Comparison of runs")


def run(args):
  """Prints the table, writes the page and what its figures are made of."""
  for name in ("clips", "examples"):
    if getattr(args, name) < 0:
      raise ValueError(
        f"--{name} must be at least 0, got {getattr(args, name)}"
      )
  runs = [read_run(path) for path in args.runs]
  print(table.as_text(table.comparison(runs)))
  sections = drawn_sections(runs, args.clips) if args.clips else []
  queries = _queries(runs, args.examples) if args.examples else []
  path = write_page(
    args.out,
    runs,
    title=args.title,
    ours=args.ours,
    sections=sections,
    queries=queries,
  )
  print(f"written: {path}")
  print(f"written: {files_beside(path)}")


def _queries(runs: list[Run], count: int) -> list[Query]:
  """Examples of every run that retrieves, where most runs do the same."""
  of_run = [run.evaluated_by(RETRIEVAL) for run in runs]
  shared = collections.Counter(key for keys in of_run for key in keys)
  results = shown.result_keys(runs)
  found = []
  for run, own in zip(runs, of_run, strict=True):
    keys = [key for key in results if key in own]
    if keys:
      found += find_examples(run.path, max(keys, key=shared.get), count)
  return found
