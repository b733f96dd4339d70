"""Tables, figures and pictures as HTML that needs nothing from elsewhere."""

import base64
import html
from collections.abc import Sequence

from trajvit.report import svg
from trajvit.report.chart import Figure, Series
from trajvit.report.table import Cell, Head, Table

_KINDS = {
  b"GIF8": "image/gif",
  b"\x89PNG": "image/png",
  b"\xff\xd8\xff": "image/jpeg",
}


def escape(text: str) -> str:
  """Returns text as it stands in HTML."""
  return html.escape(str(text))


def data_uri(data: bytes, kind: str) -> str:
  """Returns bytes of a media type as an address that holds them."""
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def media_type(data: bytes) -> str:
  """Returns that of a picture.

  Raises:
    ValueError: neither PNG nor GIF nor JPEG.
  """
  for start, kind in _KINDS.items():
    if data.startswith(start):
      return kind
  raise ValueError(f"expected PNG, GIF or JPEG, got bytes {data[:4]!r}")


def download(name: str, data: bytes, kind: str) -> str:
  """Returns a link that saves `data` as a file called `name`."""
  suffix = name.rsplit(".", 1)[-1].upper()
  return (
    f'<a class="save" download="{escape(name)}" href="{data_uri(data, kind)}">'
    f"{suffix}</a>"
  )


def table(found: Table, caption: str) -> str:
  """Returns a table whose columns sort by their heads.

  Its box scrolls where it is wider than the page, by the keyboard too.
  """
  heads = "".join(_head(head) for head in found.heads)
  rows = "".join(
    f"<tr>{_row(found.heads, cells)}</tr>\n" for cells in found.rows
  )
  return (
    f'<p class="note">{escape(caption)}</p>'
    f'<div class="scroll" tabindex="0" role="region" '
    f'aria-label="{escape(caption)}"><table class="sortable" '
    f'aria-label="{escape(caption)}"><thead><tr>{heads}</tr></thead>\n'
    f"<tbody>{rows}</tbody></table></div>"
  )


def text_table(rows: Sequence[Sequence[str]], caption: str) -> str:
  """Returns a table of text, the head first; numbers stand to the right."""
  numbers = [
    all(_is_number(row[at]) for row in rows[1:]) for at in range(len(rows[0]))
  ]
  heads = [
    Head(text, number=number)
    for text, number in zip(rows[0], numbers, strict=True)
  ]
  cells = [tuple(_text_cell(text) for text in row) for row in rows[1:]]
  return table(Table(tuple(heads), tuple(cells)), caption)


def figure(
  found: Figure, image: bytes, numbers: str, *, titled: bool = True
) -> str:
  """Returns panels, their legend, and links to save them as PNG and CSV.

  Args:
    found: what is drawn.
    titled: whether its title is shown; a section may have the same.
    image: the same as PNG.
    numbers: what it is made of, as CSV.
  """
  panels = "".join(
    f'<div class="panel">{svg.draw(panel, f"{found.name}-{i}")}</div>\n'
    for i, panel in enumerate(found.panels)
  )
  series = {}
  for panel in found.panels:
    for one in panel.series:
      if one.name not in series or one.kind == "points":
        series[one.name] = one
  entries = sorted(series.values(), key=_place_in_legend)
  legend = "".join(_legend_entry(one) for one in entries)
  links = download(f"{found.name}.csv", numbers.encode(), "text/csv")
  links += download(f"{found.name}.png", image, "image/png")
  title = f"<h3>{escape(found.title)}</h3>" if titled else ""
  note = f"<p>{escape(found.note)}</p>" if found.note else ""
  return (
    f'<figure id="{found.name}"><figcaption>{title}{note}</figcaption>'
    f'<ul class="legend">{legend}</ul><div class="panels">{panels}</div>'
    f'<p class="saves">Save as {links}</p></figure>'
  )


def picture(name: str, caption: str, data: bytes) -> str:
  """Returns a picture; its link saves what is shown, held once."""
  address = data_uri(data, media_type(data))
  suffix = name.rsplit(".", 1)[-1].upper()
  return (
    f'<figure class="picture"><figcaption>{escape(caption)}</figcaption>'
    f'<div class="scroll" tabindex="0" role="region" '
    f'aria-label="{escape(caption)}">'
    f'<img alt="{escape(caption)}" src="{address}"></div>'
    f'<p class="saves">Save as <a class="save shown" '
    f'download="{escape(name)}">{suffix}</a></p></figure>'
  )


def _head(head: Head) -> str:
  kind = ' class="number"' if head.number else ""
  better = f' data-better="{head.better}"' if head.better else ""
  return (
    f'<th scope="col" aria-sort="none"{kind}{better}>'
    f'<button type="button">{escape(head.text)}</button></th>'
  )


def _row(heads, cells) -> str:
  first, *rest = zip(heads, cells, strict=True)
  row = f'<th scope="row">{escape(first[1].text)}</th>'
  return row + "".join(_cell(head, cell) for head, cell in rest)


def _cell(head: Head, cell: Cell) -> str:
  classes = ["number"] * head.number + ["best"] * cell.best
  kind = f' class="{" ".join(classes)}"' if classes else ""
  value = "" if cell.value is None else f' data-value="{cell.value!r}"'
  text = escape(cell.text)
  if cell.interval:
    text += f'<span class="interval">{escape(cell.interval)}</span>'
  if cell.best:
    text += '<span class="unseen"> best</span>'
  return f"<td{kind}{value}>{text}</td>"


def _text_cell(text: str) -> Cell:
  number = text.split("±")[0]
  return Cell(
    text, float(number) if _is_number(text) and number != "-" else None
  )


def _is_number(text: str) -> bool:
  try:
    float(text.split("±")[0])
  except ValueError:
    return text == "-"
  return True


def _place_in_legend(one: Series) -> float:
  """Methods in their order, then what is of no method."""
  return float("inf") if one.number is None else one.number


def _legend_entry(one: Series) -> str:
  if one.kind == "points":
    fill = "#fff" if one.baseline else one.color
    shape = (
      f'<path d="{svg.mark(one.shape, 9, 8, crossed=one.baseline)}" '
      f'fill="{fill}" stroke="{one.color}" stroke-width="1.5"/>'
    )
  else:
    dashes = ' stroke-dasharray="5 3"' if one.baseline else ""
    shape = f'<path d="M1 8h16" stroke="{one.color}" stroke-width="2"{dashes}/>'
  return (
    f'<li><svg viewBox="0 0 18 16" width="18" height="16" aria-hidden="true">'
    f"{shape}</svg>{escape(one.name)}</li>"
  )
