"""`trajvit report RUN...`: compares trained runs on one page."""

from trajvit.report import table
from trajvit.report.page import write_page
from trajvit.report.runs import read_run


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument("runs", nargs="+", help="run directories")
  parser.add_argument("--out", required=True, help="the HTML file to write")
  parser.add_argument(
    "--ours", help="method to compare with the others at equal compute"
  )
  parser.add_argument("--title", default="Comparison of runs")


def run(args):
  """Prints the table and writes the page."""
  runs = [read_run(path) for path in args.runs]
  print(table.as_text(*table.comparison(runs)))
  path = write_page(args.out, runs, title=args.title, ours=args.ours)
  print(f"written: {path}")
