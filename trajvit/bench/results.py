"""Results of a benchmark: on the terminal, as Markdown and as JSON."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from trajvit.training.provenance import write_json


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the results.

  Attributes:
    title: heading.
    rows: what JSON can hold.
    text: for a terminal.
    markdown: for a page.
    failed: whether something in it did.
  """

  title: str
  rows: list[dict]
  text: str
  markdown: str
  failed: bool = False


def write(
  sections: Sequence[Section],
  machine: dict,
  preface: Sequence[str],
  *,
  title: str,
  about: str,
  out: str | None = None,
  markdown: str | None = None,
) -> None:
  """Writes the files that are asked for.

  Args:
    sections: the results so far.
    machine: of `machine.describe`.
    preface: of `machine.header`, the command first.
    title: of the page.
    about: Markdown that says how to read the page.
    out: JSON file, or None.
    markdown: Markdown file, or None.
  """
  if out is not None:
    rows = {section.title: section.rows for section in sections}
    write_json(out, {"machine": machine, "sections": rows})
  if markdown is not None:
    command, *lines = preface
    parts = [f"# {title}", f"```\n{command}\n```"]
    parts.append("\n".join(f"- {line}" for line in lines))
    for section in sections:
      parts += [f"## {section.title}", section.markdown]
    parts += ["## How to read it", about]
    path = Path(markdown)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_csv(
  path: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
  """Writes the cells of a table as a CSV file, and its folder."""
  Path(path).parent.mkdir(parents=True, exist_ok=True)
  with open(path, "w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([header, *rows])


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table with aligned columns, the first two to the left."""
  lines = [header, *rows]
  widths = [max(len(row[i]) for row in lines) for i in range(len(header))]
  return "\n".join(
    "  ".join(
      cell.ljust(width) if i < 2 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in lines
  )


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table in Markdown, the first two columns to the left."""
  rule = ["---" if i < 2 else "--:" for i in range(len(header))]
  return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def density(value: float | None) -> str:
  """Returns a cell of three decimals; "-" where there is no number."""
  return "-" if value is None else f"{value:.3f}"


def significant(value: float | None) -> str:
  """Returns a cell of three significant digits, without an exponent."""
  if value is None:
    return "-"
  return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None, digits: int = 0) -> str:
  """Returns a cell; `value` is a share."""
  return "-" if value is None else f"{100 * value:.{digits}f} %"


def times(value: float | None) -> str:
  """Returns a cell; `value` is a ratio."""
  return "-" if value is None else f"{value:.2f}x"
