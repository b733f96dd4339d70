"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
  """Returns the lines of a table; cells are Markdown, or numbers."""
  lines = [head, ["---"] * len(head), *rows]
  return [f"| {' | '.join(map(str, cells))} |" for cells in lines]
