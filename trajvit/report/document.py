"""An HTML document around the parts of a page, which fetches nothing."""

from collections.abc import Mapping, Sequence
from importlib import resources

from trajvit.report.markup import escape

_POLICY = (
  "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
  "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def document(title: str, notes: Sequence[str], parts: Mapping[str, str]) -> str:
  """Returns an HTML document with styles and script inside.

  Args:
    title: headline, plain text.
    notes: sentences below it, plain text.
    parts: heading, plain text -> body, HTML.
  """
  folder = resources.files("trajvit.report")
  style, script = (
    (folder / name).read_text("utf-8") for name in ("page.css", "page.js")
  )
  anchors = {f"part-{i}": heading for i, heading in enumerate(parts)}
  links = "".join(
    f'<li><a href="#{anchor}">{escape(heading)}</a></li>'
    for anchor, heading in anchors.items()
  )
  body = "\n".join(
    f'<section><h2 id="{anchor}">{escape(heading)}</h2>\n'
    f"{parts[heading]}</section>"
    for anchor, heading in anchors.items()
  )
  said = "".join(f"<p>{escape(note)}</p>" for note in notes)
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{said}
<nav aria-label="Parts of the page"><ul>{links}</ul></nav>
<main>
{body}
</main>
<div id="tip" role="status" hidden></div>
<script>
{script}</script>
</body>
</html>
"""
