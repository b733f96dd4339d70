"""What a figure is made of: drawn as SVG and PNG, written as CSV."""

import csv
import dataclasses
import io
import math

from trajvit.report import ticks

# Dark enough on white to be told from it and, in this order, from each other.
COLORS = (
  "#0b62a8",
  "#c2410c",
  "#15803d",
  "#a21caf",
  "#7a5c00",
  "#0f7b8a",
  "#b91c1c",
  "#5b45b0",
  "#4d4d4d",
)
SHAPES = ("circle", "square", "triangle", "diamond", "down")
FRONT_COLOR = "#444444"
POINTS, LINE, STEPS = "points", "line", "steps"


@dataclasses.dataclass(frozen=True)
class Axis:
  """An axis.

  Attributes:
    label: with the unit.
    log: whether it is logarithmic; all values are positive then.
    low, high: ends that it reaches at least, or None.
    at: where its ticks are; () = round numbers.
  """

  label: str
  log: bool = False
  low: float | None = None
  high: float | None = None
  at: tuple[float, ...] = ()

  def ticks(self, low: float, high: float) -> list[float]:
    """Returns where its ticks are, from `low` to `high`."""
    if self.at:
      return list(self.at)
    return (ticks.logarithmic if self.log else ticks.linear)(low, high)


@dataclasses.dataclass(frozen=True)
class Series:
  """Points of one method, or a line.

  Attributes:
    name: of the method, or of what the line is.
    x, y: as many finite numbers each.
    low, high: ends of the bars at the points, as many, or ().
    kind: POINTS, LINE, or STEPS of given corners.
    number: of its colour and shape, alike in all figures; None is grey.
    baseline: whether it is hollow and crossed: chosen at random.
    notes: what more to say of each point, as many, or ().
  """

  name: str
  x: tuple[float, ...]
  y: tuple[float, ...]
  low: tuple[float, ...] = ()
  high: tuple[float, ...] = ()
  kind: str = POINTS
  number: int | None = None
  baseline: bool = False
  notes: tuple[str, ...] = ()

  @property
  def color(self) -> str:
    """As "#rrggbb"."""
    if self.number is None:
      return FRONT_COLOR
    return COLORS[self.number % len(COLORS)]

  @property
  def shape(self) -> str:
    """Of SHAPES."""
    return SHAPES[(self.number or 0) % len(SHAPES)]


@dataclasses.dataclass(frozen=True)
class Panel:
  """One pair of axes.

  Attributes:
    title: what is shown, a few words.
    x, y: axes.
    series: drawn one over the other.
    levels: (y, what it is) of dashed lines across.
  """

  title: str
  x: Axis
  y: Axis
  series: tuple[Series, ...]
  levels: tuple[tuple[float, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Figure:
  """Panels that belong together.

  Attributes:
    name: of its files.
    title: a headline.
    panels: at least one.
    note: a sentence on how to read it, or "".
  """

  name: str
  title: str
  panels: tuple[Panel, ...]
  note: str = ""


def as_csv(figure: Figure) -> str:
  """Returns a row a point, the numbers in full."""
  rows = [["panel", "series", "x", "y", "low", "high", "x_label", "y_label"]]
  for panel in figure.panels:
    labels = [panel.x.label, panel.y.label]
    for one in panel.series:
      blank = ("",) * len(one.x)
      ends = one.low or blank, one.high or blank
      for values in zip(one.x, one.y, *ends, strict=True):
        rows.append([panel.title, one.name, *values, *labels])
    for level, name in panel.levels:
      rows.append([panel.title, name, "", level, "", "", *labels])
  return csv_text(rows)


def csv_text(rows: list[list]) -> str:
  """Returns rows of values as CSV."""
  buffer = io.StringIO()
  csv.writer(buffer, lineterminator="\n").writerows(rows)
  return buffer.getvalue()


def limits(panel: Panel) -> tuple[tuple[float, float], tuple[float, float]]:
  """Returns the ends of both axes: all that is drawn, and a margin."""
  x = [value for one in panel.series for value in one.x]
  y = [v for one in panel.series for v in (*one.y, *one.low, *one.high)]
  y += [level for level, _ in panel.levels]
  return _ends(x, panel.x), _ends(y, panel.y)


def _ends(values, axis):
  """The ends of one axis, those that it must have aside with a margin."""
  low, high = min(values, default=0.0), max(values, default=1.0)
  low = low if axis.low is None else min(low, axis.low)
  high = high if axis.high is None else max(high, axis.high)
  if axis.log:
    margin = max((high / low) ** 0.06, 1.15) if high > low else 2.0
    first, last = low / margin, high * margin
  else:
    margin = 0.05 * (high - low) or max(abs(high) * 0.1, 0.5)
    first, last = low - margin, high + margin
  if axis.low is not None and math.isclose(low, axis.low):
    first = low
  if axis.high is not None and math.isclose(high, axis.high):
    last = high
  return first, last
