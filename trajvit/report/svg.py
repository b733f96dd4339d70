"""A panel as SVG that stands in a page, is read aloud, and scales."""

import html
import math

from trajvit.report import ticks
from trajvit.report.chart import LINE, POINTS, Panel, Series, limits

# Units of the drawing; a page shows one as about a pixel, so that text keeps
# its size on a narrow screen.
WIDTH, HEIGHT = 400, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 32, 46
_RADIUS = 5
_TITLE_LETTERS = 46


def draw(panel: Panel, identifier: str) -> str:
  """Returns an `<svg>` element.

  Every point, and every line of a method, can be reached by the keyboard and
  says in `data-tip` what it is, a fact a line.

  Args:
    panel: what to draw.
    identifier: of the element, unlike others of the page.
  """
  place = _Place(panel)
  body = [*_axes(panel, place)]
  for level, name in panel.levels:
    body.append(_level(level, name, place))
  for one in panel.series:
    if one.kind == POINTS:
      body += _points(one, panel, place)
    else:
      body.append(_line(one, panel, place))
  title = html.escape(panel.title)
  return (
    f'<svg id="{identifier}" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
    f'aria-labelledby="{identifier}-t {identifier}-d">'
    f'<title id="{identifier}-t">{title}</title>'
    f'<desc id="{identifier}-d">{html.escape(describe(panel))}</desc>'
    f"{''.join(body)}</svg>"
  )


def describe(panel: Panel) -> str:
  """Returns what a panel shows in words, for those who do not see it."""
  names = dict.fromkeys(one.name for one in panel.series)
  (left, right), (bottom, top) = limits(panel)
  text = (
    f"{panel.y.label} against {panel.x.label}, from {left:.4g} to {right:.4g} "
    f"across and from {bottom:.4g} to {top:.4g} upwards: {', '.join(names)}."
  )
  for level, name in panel.levels:
    text += f" {name} is at {level:.4g}."
  return text


class _Place:
  """Where values lie in the drawing."""

  def __init__(self, panel):
    self.log_x, self.log_y = panel.x.log, panel.y.log
    (self.left, self.right), (self.bottom, self.top) = limits(panel)

  def x(self, value):
    share = _share(value, self.left, self.right, self.log_x)
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

  def y(self, value):
    share = _share(value, self.bottom, self.top, self.log_y)
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _share(value, low, high, log):
  if log:
    return math.log(value / low) / math.log(high / low)
  return (value - low) / (high - low)


def _axes(panel, place):
  """The title, both labels, and a grid line with a number at every tick."""
  foot, end = HEIGHT - _BOTTOM, WIDTH - _RIGHT
  parts = [
    f'<text class="head" x="{_LEFT}" y="18">{_cut(panel.title)}</text>',
    f'<text x="{(_LEFT + end) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
    f"{html.escape(panel.x.label)}</text>",
    f'<text transform="translate(13 {(_TOP + foot) / 2}) rotate(-90)" '
    f'text-anchor="middle">{html.escape(panel.y.label)}</text>',
  ]
  for value in panel.x.ticks(place.left, place.right):
    at = place.x(value)
    parts.append(
      f'<path class="grid" d="M{at} {_TOP}V{foot}"/><text class="tick" '
      f'x="{at}" y="{foot + 16}" text-anchor="middle">'
      f"{ticks.spelled(value)}</text>"
    )
  for value in panel.y.ticks(place.bottom, place.top):
    at = place.y(value)
    parts.append(
      f'<path class="grid" d="M{_LEFT} {at}H{end}"/><text class="tick" '
      f'x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">'
      f"{ticks.spelled(value)}</text>"
    )
  parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{foot}H{end}"/>')
  return parts


def _level(level, name, place):
  at, end = place.y(level), WIDTH - _RIGHT
  return (
    f'<path class="level" d="M{_LEFT} {at}H{end}"/>'
    f'<text class="tick" x="{(_LEFT + end) / 2}" y="{at - 4}" '
    f'text-anchor="middle">{html.escape(name)}</text>'
  )


def _points(one: Series, panel, place):
  """Marks with their bars."""
  parts = []
  for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
    tip = [one.name, f"{panel.y.label}: {y:.4g}", f"{panel.x.label}: {x:.4g}"]
    across, up = place.x(x), place.y(y)
    bar = ""
    if one.low:
      low, high = place.y(one.low[i]), place.y(one.high[i])
      bar = (
        f'<path d="M{across} {low}V{high}M{across - 4} {low}h8'
        f'M{across - 4} {high}h8" stroke="{one.color}" fill="none"/>'
      )
    if one.notes:
      tip.append(one.notes[i])
    shape = mark(one.shape, across, up, crossed=one.baseline)
    parts.append(
      f"<g {_tip(tip)}>{bar}"
      f'<path d="{shape}" fill="{"#fff" if one.baseline else one.color}" '
      f'stroke="{one.color}" stroke-width="1.5"/>'
      f'<circle class="reach" cx="{across}" cy="{up}" r="11"/></g>'
    )
  return parts


def _line(one: Series, panel, place):
  """A line through the points, or along given corners."""
  spots = [(place.x(x), place.y(y)) for x, y in zip(one.x, one.y, strict=True)]
  path = "M" + "L".join(f"{x} {y}" for x, y in spots)
  tip = [one.name]
  if one.kind == LINE:
    last = f"{panel.y.label}: {one.y[-1]:.4g} at {one.x[-1]:.4g}, its end"
    tip.append(last)
  dashes = ' stroke-dasharray="5 3"' if one.baseline else ""
  return (
    f'<path {_tip(tip)} d="{path}" fill="none" stroke="{one.color}" '
    f'stroke-width="1.8" stroke-linejoin="round"{dashes}/>'
  )


def mark(shape: str, x: float, y: float, *, crossed: bool = False) -> str:
  """Returns the path of a mark around a point; `crossed` puts an x into it."""
  r = _RADIUS
  paths = {
    "circle": f"M{x - r} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
    "square": f"M{x - 4.5} {y - 4.5}h9v9h-9Z",
    "triangle": f"M{x} {y - 5.5}l5.5 10h-11Z",
    "diamond": f"M{x} {y - 6}l6 6l-6 6l-6 -6Z",
    "down": f"M{x} {y + 5.5}l5.5 -10h-11Z",
  }
  cross = f"M{x - 3} {y - 3}l6 6M{x + 3} {y - 3}l-6 6" if crossed else ""
  return paths[shape] + cross


def _tip(lines):
  text = html.escape("\n".join(lines)).replace("\n", "&#10;")
  label = html.escape(", ".join(lines))
  return (
    f'class="mark" tabindex="0" role="img" aria-label="{label}" '
    f'data-tip="{text}"'
  )


def _cut(text):
  cut = text if len(text) <= _TITLE_LETTERS else f"{text[:_TITLE_LETTERS]}…"
  return html.escape(cut)
