"""A figure as PNG, for slides and papers."""

import io

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib import ticker  # noqa: E402

from trajvit.report import ticks  # noqa: E402
from trajvit.report.chart import (  # noqa: E402
  POINTS,
  Axis,
  Figure,
  Panel,
  Series,
  limits,
)

_MARKERS = {
  "circle": "o",
  "square": "s",
  "triangle": "^",
  "diamond": "D",
  "down": "v",
}
_COLUMNS = 3


def draw(figure: Figure) -> bytes:
  """Returns the panels side by side, one legend for all, as PNG bytes."""
  count = len(figure.panels)
  columns = min(_COLUMNS, count)
  rows = -(-count // columns)
  canvas, axes = plt.subplots(
    rows, columns, figsize=(4 * columns, 3.2 * rows + 0.6), squeeze=False
  )
  for axis in axes.flat[count:]:
    axis.remove()
  named = {}
  for panel, axis in zip(figure.panels, axes.flat, strict=False):
    for one in panel.series:
      named.setdefault(one.name, _draw_series(axis, one))
    _frame(axis, panel)
  canvas.suptitle(figure.title)
  canvas.legend(
    named.values(),
    named,
    loc="outside lower center",
    ncols=min(len(named), 2 * columns),
    fontsize=8,
    frameon=False,
  )
  canvas.set_layout_engine("constrained")
  buffer = io.BytesIO()
  canvas.savefig(buffer, format="png", dpi=110)
  plt.close(canvas)
  return buffer.getvalue()


def _draw_series(axis, one: Series):
  """Draws a series; returns what stands for it in the legend."""
  if one.kind != POINTS:
    dashed = "--" if one.baseline else "-"
    return axis.plot(one.x, one.y, color=one.color, linestyle=dashed)[0]
  spread = None
  if one.low:
    below = [y - low for y, low in zip(one.y, one.low, strict=True)]
    above = [high - y for y, high in zip(one.y, one.high, strict=True)]
    spread = [below, above]
  return axis.errorbar(
    one.x,
    one.y,
    spread,
    linestyle="none",
    marker=_MARKERS[one.shape],
    color=one.color,
    markerfacecolor="white" if one.baseline else one.color,
    capsize=3,
  )


def _frame(axis, panel: Panel):
  """Title, labels, ends and ticks, alike in the SVG."""
  ends = limits(panel)
  for level, name in panel.levels:
    axis.axhline(level, color="grey", linestyle="--", linewidth=1)
    axis.annotate(
      name,
      (0.5, level),
      xycoords=("axes fraction", "data"),
      ha="center",
      size=7,
    )
  axis.set_title(panel.title, fontsize=9)
  axis.grid(alpha=0.3)
  _scale(axis.xaxis, panel.x, ends[0])
  _scale(axis.yaxis, panel.y, ends[1])


def _scale(side, described: Axis, ends):
  name = side.axis_name
  set_scale = getattr(side.axes, f"set_{name}scale")
  set_scale("log" if described.log else "linear")
  getattr(side.axes, f"set_{name}lim")(*ends)
  getattr(side.axes, f"set_{name}label")(described.label)
  side.set_major_locator(ticker.FixedLocator(described.ticks(*ends)))
  side.set_major_formatter(lambda value, _: ticks.spelled(value))
  side.set_minor_locator(ticker.NullLocator())
