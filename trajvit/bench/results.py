"""Results of a benchmark as text for a terminal, as Markdown and as JSON."""

from collections.abc import Sequence
from pathlib import Path

from trajvit.training.provenance import write_json


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


def write(
  out: str | None,
  markdown: str | None,
  document: dict,
  sections: Sequence[tuple[str, str]],
  *,
  title: str,
  preface: Sequence[str],
) -> None:
  """Writes what was asked for, and says so.

  Args:
    out: JSON file, or None.
    markdown: Markdown file, or None.
    document: content of the JSON file.
    sections: (heading, Markdown) of the parts of the page.
    title: of the page.
    preface: lines of the machine, the command first.
  """
  if out is not None:
    write_json(out, document)
    print(f"written: {out}")
  if markdown is not None:
    command, *machine = preface
    parts = [f"# {title}", f"```\n{command}\n```", "\n".join(machine)]
    for heading, body in sections:
      parts += [f"## {heading}", body]
    path = Path(markdown)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"written: {markdown}")


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
