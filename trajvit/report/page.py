"""report/index.html: one file that needs nothing else."""

import base64
import html
from pathlib import Path

from trajvit.report import budgets, figures, table
from trajvit.report.runs import Run, differing_manifests

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em;
  padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ccc; text-align: right;
  white-space: nowrap; }
th { white-space: normal; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
.scroll { overflow-x: auto; }
.note { color: #555; }
"""


def write_page(
  path: str | Path,
  runs: list[Run],
  *,
  title: str,
  ours: str | None = None,
  pictures: list[tuple[str, bytes]] = (),
  reconstructions: list[tuple[str, bytes]] = (),
  notes: list[str] = (),
) -> Path:
  """Writes a page that compares runs.

  Args:
    path: of the HTML file.
    runs: of all methods and seeds.
    title: headline.
    ours: the method that is compared with all others at equal compute.
    pictures: of trajectories, (caption, PNG bytes) to show below the figures.
    reconstructions: (caption, PNG or GIF bytes), likewise.
    notes: sentences above the table, about what the numbers mean.

  Returns:
    The path.
  """
  galleries = table.gallery_keys(runs)
  parts = [f"<h1>{html.escape(title)}</h1>"]
  parts += [f"<p>{html.escape(note)}</p>" for note in notes]
  parts.append(_table(*table.comparison(runs)))
  parts += [f"<p class=note>{html.escape(x)}</p>" for x in _provenance(runs)]
  if galleries:
    parts.append("<h2>Accuracy against tokens, and against compute</h2>")
  for cost, label in (
    ("tokens_per_clip_mean", "tokens per clip (mean)"),
    ("GFLOPs_per_clip", "GFLOPs per clip, tokenizer counted"),
  ):
    if galleries and any(run.metric("cost", cost) for run in runs):
      image = figures.accuracy_against(runs, cost, label, galleries)
      parts.append(_image(image, label))
  if budgets.budget_scores(runs):
    parts.append("<h2>Against the tokens that are read</h2>")
    parts.append(_table(*budgets.as_table(runs)))
    parts.append(_image(figures.against_budget(runs), "scores against k"))
  parts.append("<h2>Training</h2>")
  parts.append(_image(figures.curves(runs), "curves"))
  equal = table.equal_compute(runs, ours) if ours else []
  if equal:
    parts.append("<h2>At equal training compute</h2>")
    parts.append(
      "<p>Validation text-to-video R@5 where both runs have spent the same "
      "compute on the video side: the lesser of their totals. The longer run "
      "has not finished its learning rate schedule there.</p>"
    )
    header = ["against", "TFLOP", f"{ours}: steps", "R@5", "steps", "R@5"]
    rows = [
      [row["method"], f"{row['tflops']:.2f}"]
      + [
        text
        for steps, score in (row["ours"], row["theirs"])
        for text in (str(steps), f"{score:.1f}")
      ]
      for row in equal
    ]
    parts.append(_table(header, rows))
  for heading, shown in (
    ("Trajectories", pictures),
    ("Reconstructions", reconstructions),
  ):
    if shown:
      parts.append(f"<h2>{heading}</h2>")
    for caption, image in shown:
      parts.append(f"<p>{html.escape(caption)}</p>")
      parts.append(_image(image, caption))
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  body = "\n".join(parts)
  path.write_text(
    f"<!doctype html><html lang=en><meta charset=utf-8>"
    f"<title>{html.escape(title)}</title><style>{STYLE}</style>\n{body}\n</html>\n",
    encoding="utf-8",
  )
  return path


def _provenance(runs):
  """Where the numbers come from, and what must not be compared silently."""
  lines = []
  for run in runs[:1]:
    for result in list(run.evals.values())[:1]:
      manifest = result["manifest"]
      versions = ", ".join(f"{k} {v}" for k, v in manifest["versions"].items())
      lines.append(
        f"Device {manifest['device']}; commit {manifest['commit']}; {versions}."
      )
  differing = {}
  for key in sorted({key for run in runs for key in run.evals}):
    differing |= differing_manifests(runs, key)
  lines += [
    f"Mind: the runs differ in {name}: {', '.join(map(str, values))}."
    for name, values in differing.items()
  ]
  return lines


def _table(header, rows):
  def line(cells, tag):
    inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inside}</tr>"

  body = "\n".join(line(row, "td") for row in rows)
  return f"<div class=scroll><table>{line(header, 'th')}\n{body}</table></div>"


def _image(data, alt):
  """An image of PNG or GIF bytes, inside the page."""
  kind = "gif" if data.startswith(b"GIF8") else "png"
  source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
  return f'<img alt="{html.escape(alt)}" src="{source}">'
