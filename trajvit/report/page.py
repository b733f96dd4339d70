"""The page that compares runs: one HTML file that needs nothing else.

Everything lies inside it: styles, script, drawings, pictures, and what the
figures are made of. A policy in its head forbids the browser to fetch anything.
The same CSV, PNG and GIF files are written beside it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from trajvit.report import budgets, figures, markup, png, shown, table
from trajvit.report.chart import as_csv, csv_text
from trajvit.report.columns import explain, split
from trajvit.report.differences import as_rows, differences, unlike_seeds
from trajvit.report.document import document
from trajvit.report.equal_compute import equal_compute
from trajvit.report.examples import Query
from trajvit.report.examples_markup import as_html, query_rows
from trajvit.report.runs import Run


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture of a section.

  Attributes:
    name: of its file, with the suffix.
    caption: what it shows.
    data: PNG, GIF or JPEG.
  """

  name: str
  caption: str
  data: bytes


@dataclasses.dataclass(frozen=True)
class Section:
  """Pictures below a heading, and sentences about them."""

  heading: str
  pictures: Sequence[Picture] = ()
  notes: Sequence[str] = ()


def files_beside(path: str | Path) -> Path:
  """Returns the folder of a page's files: `<page>_files`."""
  return Path(path).with_name(f"{Path(path).stem}_files")


def write_page(
  path: str | Path,
  runs: list[Run],
  *,
  title: str,
  ours: str | None = None,
  notes: Sequence[str] = (),
  sections: Sequence[Section] = (),
  queries: Sequence[Query] = (),
) -> Path:
  """Writes a page that compares runs, and the files behind its figures.

  Args:
    path: of the HTML file; the others go to `files_beside(path)`.
    runs: of all methods and seeds.
    title: headline.
    ours: the method that is compared with all others at equal compute.
    notes: sentences above the table, about what the numbers mean.
    sections: pictures, with names that differ.
    queries: examples of retrieval.

  Returns:
    The path.
  """
  path = Path(path)
  folder = files_beside(path)
  folder.mkdir(parents=True, exist_ok=True)
  files = _Files(folder)
  parts = {"Results": _results(runs, files)}
  parts |= _figures(runs, files)
  if ours and (rows := _equal_compute(runs, ours)):
    parts["At equal training compute"] = rows
  for section in sections:
    parts[section.heading] = _section(section, files)
  if queries:
    link = files.csv("retrieval_examples", query_rows(queries))
    parts["Retrieval examples"] = as_html(queries) + _saves(link)
  if rows := _differences(runs, files):
    parts["What the runs do not share"] = rows
  path.write_text(document(title, notes, parts), encoding="utf-8")
  return path


class _Files:
  """Writes files beside the page, and gives links that save the same."""

  def __init__(self, folder: Path):
    self.folder = folder

  def csv(self, name: str, rows: list[list]) -> str:
    """Writes <name>.csv; returns the link."""
    data = csv_text(rows).encode()
    self.write(f"{name}.csv", data)
    return markup.download(f"{name}.csv", data, "text/csv")

  def write(self, name: str, data: bytes) -> None:
    (self.folder / name).write_bytes(data)


def _results(runs, files) -> str:
  """The table, where it comes from, and what splits its columns."""
  caption = "± is half the distance between the lowest and the highest seed"
  if any(name.endswith("_low") for name in _metric_names(runs)):
    caption += "; in brackets, the confidence interval of a single run"
  minds = explain(runs, [*shown.result_keys(runs), shown.COST])
  if len(split(runs, shown.COST)) == 1:
    minds += explain(runs, [shown.COST], machine=True)
  minds += unlike_seeds(runs)
  return (
    "".join(f'<p class="mind">{markup.escape(x)}</p>' for x in minds)
    + markup.table(table.comparison(runs), f"{caption}.")
    + _saves(files.csv("results", table.run_rows(runs)))
    + f'<p class="note">{markup.escape(_provenance(runs))}</p>'
  )


def _figures(runs, files) -> dict[str, str]:
  """{heading: body} of all charts."""
  found = {}
  for figure in figures.figures_of(runs):
    numbers, image = as_csv(figure), png.draw(figure)
    files.write(f"{figure.name}.csv", numbers.encode())
    files.write(f"{figure.name}.png", image)
    against_cost = figure.name.startswith("pareto")
    heading = "Accuracy against cost" if against_cost else figure.title
    drawn = markup.figure(figure, image, numbers, titled=against_cost)
    if figure.name == "budgets":
      header, rows = budgets.as_table(runs)
      drawn += markup.text_table([header, *rows], "Scores of k tokens.")
      drawn += _saves(files.csv("budget_scores", budgets.run_rows(runs)))
    found[heading] = found.get(heading, "") + drawn
  return found


def _equal_compute(runs, ours) -> str:
  rows = equal_compute(runs, ours)
  if not rows:
    return ""
  header = ["against", "TFLOP", f"{ours}: steps", "R@5", "steps", "R@5"]
  cells = [
    [row["method"], f"{row['tflops']:.2f}"]
    + [
      text
      for steps, score in (row["ours"], row["theirs"])
      for text in (str(steps), f"{score:.1f}")
    ]
    for row in rows
  ]
  return (
    "<p>Validation text-to-video R@5 where both runs have spent the same "
    "compute on the video side: the lesser of their totals. The longer run has "
    "not finished its learning rate schedule there.</p>"
  ) + markup.text_table([header, *cells], f"{ours} against the others.")


def _section(section, files) -> str:
  body = "".join(
    f'<p class="note">{markup.escape(note)}</p>' for note in section.notes
  )
  pictures = ""
  for one in section.pictures:
    files.write(one.name, one.data)
    pictures += markup.picture(one.name, one.caption, one.data)
  return f'{body}<div class="pictures">{pictures}</div>'


def _differences(runs, files) -> str:
  entries = differences(runs)
  if not entries:
    return ""
  rows = as_rows(entries)
  note = (
    "<p>Fields of the manifests that are not alike in all runs. Where a field "
    "says that clips, views or the evaluation itself were others, results do "
    "not stand in one column.</p>"
  )
  found = markup.text_table(rows, "Fields of the manifests.")
  return (
    note
    + f'<div class="wide">{found}</div>'
    + _saves(files.csv("differences", rows))
  )


def _provenance(runs) -> str:
  """Where the numbers come from: of the first result."""
  found = [(run, x["manifest"]) for run in runs for x in run.evals.values()]
  if not found:
    return "None of the runs has been evaluated."
  run, first = found[0]
  versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
  text = f"Device {first['device']}; commit {first['commit']}; {versions}."
  told = ("device", "commit", "versions")
  if all(x[name] == first[name] for _, x in found for name in told):
    return text
  return f"{run.name}: {text} Others differ, see below."


def _metric_names(runs):
  return {
    name
    for run in runs
    for result in run.evals.values()
    for name in result["metrics"]
  }


def _saves(links: str) -> str:
  return f'<p class="saves">Save as {links}</p>'
