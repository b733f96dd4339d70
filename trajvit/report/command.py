"""`trajvit report RUN...`: compares trained runs on one page."""

from pathlib import Path

from trajvit.report import budgets, figures, table
from trajvit.report.page import write_page
from trajvit.report.reconstruct import (
  EVALUATOR,
  remake_for_all,
  write_pictures,
)
from trajvit.report.runs import Run, read_run


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument("runs", nargs="+", help="run directories")
  parser.add_argument("--out", required=True, help="the HTML file to write")
  parser.add_argument(
    "--ours", help="method to compare with the others at equal compute"
  )
  parser.add_argument(
    "--clips",
    type=int,
    default=0,
    help="how many clips to show as they come back from the tokens of the runs "
    "with an evaluation of reconstruction, which takes their checkpoints",
  )
  parser.add_argument("--title", default="Comparison of runs")


def run(args):
  """Prints the table, writes the page and what its figures are made of."""
  runs = [read_run(path) for path in args.runs]
  print(table.as_text(*table.comparison(runs)))
  out = Path(args.out)
  pictures = _reconstructions(runs, args.clips, _beside(out, "pictures"))
  path = write_page(
    out, runs, title=args.title, ours=args.ours, reconstructions=pictures
  )
  print(f"written: {path}")
  if budgets.budget_scores(runs):
    path = _beside(out, "budgets.csv")
    budgets.write_csv(path, runs)
    path.with_suffix(".png").write_bytes(figures.against_budget(runs))
    print(f"written: {path}, {path.with_suffix('.png')}")


def _beside(page: Path, name: str) -> Path:
  return page.with_name(f"{page.stem}_{name}")


def _reconstructions(
  runs: list[Run], clips: int, folder: Path
) -> list[tuple[str, bytes]]:
  """Draws the clips into `folder`; (caption, bytes) of every picture."""
  remade = [run.path for run in runs if run.evaluated_by(EVALUATOR)]
  if not clips or not remade:
    return []
  paths = write_pictures(remake_for_all(remade, None, clips), folder, gif=True)
  captions = ("the middle frame", "all frames")
  return [
    (caption, path.read_bytes())
    for caption, path in zip(captions, paths, strict=True)
  ]
