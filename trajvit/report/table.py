"""The table that compares runs: tokens, cost, speed and scores."""

import dataclasses
import statistics

from trajvit.report import shown
from trajvit.report.columns import Column, split
from trajvit.report.runs import Run, group_runs

NONE = "-"  # a cell without a value


@dataclasses.dataclass(frozen=True)
class Head:
  """The head of a column: its text, and which way its numbers improve.

  `better` is `shown.MORE`, `shown.LESS`, or "" for what is no score; `number`
  tells whether cells are numbers.
  """

  text: str
  better: str = ""
  number: bool = True


@dataclasses.dataclass(frozen=True)
class Cell:
  """A cell.

  Attributes:
    text: as shown.
    value: what to sort by, None without one or where it is the text.
    interval: the confidence interval as text, or "".
    best: whether no other cell of the column is better.
  """

  text: str
  value: float | None = None
  interval: str = ""
  best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
  """Heads, and rows of as many cells."""

  heads: tuple[Head, ...]
  rows: tuple[tuple[Cell, ...], ...]

  def column(self, text: str) -> list[Cell]:
    """Returns the cells below the head with this text."""
    at = [head.text for head in self.heads].index(text)
    return [row[at] for row in self.rows]


def comparison(runs: list[Run]) -> Table:
  """Returns the table, one row a method.

  Where a method was run with several seeds a cell is their mean and, after ±,
  half the distance between the lowest and the highest. Results that may not be
  compared have columns of their own, see `columns.split`.
  """
  groups = group_runs(runs)
  heads = [Head("method", number=False), Head("tracks", number=False)]
  rows = [[Cell(name), Cell(g[0].tracks)] for name, g in groups.items()]
  for head, key, name, digits, column in _columns(runs):
    heads.append(head)
    found = [
      number_cell(
        [run for run in group if column is None or column.has(run)],
        key,
        name,
        digits,
      )
      for group in groups.values()
    ]
    for row, cell in zip(rows, mark_best(found, head.better), strict=True):
      row.append(cell)
  return Table(tuple(heads), tuple(map(tuple, rows)))


def run_rows(runs: list[Run]) -> list[list]:
  """Returns rows for a CSV, one a run and column, the numbers in full."""
  header = ["method", "run", "column", "value", "low", "high"]
  rows = []
  for head, key, name, _, column in _columns(runs):
    for run in runs if column is None else column.runs:
      found = _value(run, key, name)
      if found is not None:
        ends = shown.interval(run, key, name) or ("", "")
        rows.append([run.name, run.path.name, head.text, found, *ends])
  return [header, *rows]


def number_cell(runs: list[Run], key: str, name: str, digits: int) -> Cell:
  """Returns the cell of a method's runs, one a seed.

  A single run shows the confidence interval that its result has. Several show
  how far apart they are, which an interval of one of them is not about.
  """
  pairs = [(run, _value(run, key, name)) for run in runs]
  pairs = [(run, found) for run, found in pairs if found is not None]
  if not pairs:
    return Cell(NONE)
  values = [found for _, found in pairs]
  ends = shown.interval(pairs[0][0], key, name) if len(pairs) == 1 else None
  interval = f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else ""
  return Cell(spelled(values, digits), statistics.mean(values), interval)


def spelled(values: list[float | None], digits: int = 1) -> str:
  """Returns the mean over seeds and their spread, "-" without a value.

  None is a seed without one; `digits` are those after the point.
  """
  values = [value for value in values if value is not None]
  if not values:
    return NONE
  text = f"{statistics.mean(values):.{digits}f}"
  if len(values) > 1:
    text += f"±{(max(values) - min(values)) / 2:.{digits}f}"
  return text


def mark_best(cells: list[Cell], better: str) -> list[Cell]:
  """Returns the cells, the best of at least two marked; equal ones all are.

  Args:
    cells: of one column.
    better: see Head.
  """
  values = [cell.value for cell in cells if cell.value is not None]
  if not better or len(values) < 2:
    return cells
  best = max(values) if better == shown.MORE else min(values)
  return [dataclasses.replace(x, best=x.value == best) for x in cells]


def as_text(table: Table) -> str:
  """Returns the table as text, cut into blocks of columns that fit a screen."""
  header = [head.text for head in table.heads]
  rows = [[cell.text for cell in row] for row in table.rows]
  blocks, widest = [], 8
  for start in range(2, len(header), widest - 1):
    columns = [0, *range(1 if start == 2 else start, start + widest - 1)]
    columns = [at for at in columns if at < len(header)]
    blocks.append(
      _aligned(
        [header[at] for at in columns],
        [[row[at] for at in columns] for row in rows],
      )
    )
  return "\n\n".join(blocks)


def _columns(runs):
  """(head, evaluation, metric, digits, Column or None for all runs)."""
  found = []
  for cost in shown.COSTS:
    machine = cost.name in shown.OF_MACHINE
    for column in split(runs, shown.COST, machine=machine):
      if any(_value(run, shown.COST, cost.name) for run in column.runs):
        head = Head(_headed(cost.axis, column), shown.LESS)
        found.append((head, shown.COST, cost.name, cost.digits, column))
  head = Head("training steps/s", shown.MORE)
  found.append((head, "", "steps_per_second", 1, None))
  for key in shown.result_keys(runs):
    for column in split(runs, key):
      for score in shown.scores_of(list(column.runs), key):
        head = Head(f"{column.label} {score.label}", score.better)
        found.append((head, key, score.name, score.digits, column))
  return found


def _headed(label: str, column: Column) -> str:
  return ", ".join([label, *column.spelled])


def _value(run, key, name):
  if name == "steps_per_second":
    return 1 / run.step_seconds if run.timings else None
  return shown.value(run, key, name)


def _aligned(header, rows):
  widths = [
    max(len(row[i]) for row in [header, *rows]) for i in range(len(header))
  ]
  lines = []
  for row in [header, *rows]:
    cells = [row[0].ljust(widths[0])]
    cells += [x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True)]
    lines.append("  ".join(cells))
  return "\n".join(lines)
