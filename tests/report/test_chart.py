"""Charts: round ticks, ends of axes, and one figure as SVG, PNG and CSV."""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trajvit.report import png, svg, ticks
from trajvit.report.chart import Axis, Figure, Panel, Series, as_csv, limits

finite = st.floats(1e-6, 1e9)


@settings(max_examples=50)
@given(finite, st.floats(1.0001, 1e6))
def test_ticks_lie_inside_and_are_few(low, ratio):
  high = low * ratio
  for found in (ticks.linear(low, high), ticks.logarithmic(low, high)):
    assert len(found) <= 6 and found == sorted(set(found))
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in found)
  if ratio > 2:
    assert len(ticks.linear(low, high)) >= 2


def test_ticks_are_round():
  assert ticks.linear(0, 100) == [0, 20, 40, 60, 80, 100]
  assert ticks.linear(-0.04, 0.31) == [0, 0.1, 0.2, 0.3]
  assert ticks.linear(3, 3) == [3]
  assert ticks.logarithmic(4, 150) == [5, 10, 20, 50, 100]
  assert ticks.logarithmic(1, 1e5) == [1, 10, 100, 1000, 1e4, 1e5]
  with pytest.raises(ValueError, match="above 0"):
    ticks.logarithmic(0, 1)
  spelled = [ticks.spelled(x) for x in (0.05, 1500.0, 20000, 3e6, -5)]
  assert spelled == ["0.05", "1500", "20k", "3M", "-5"]


@pytest.fixture
def figure():
  points = Series(
    "a <method>", (1.0, 10.0), (1 / 3, 50.0), (0.0, 40.0), (1.0, 60.0), number=0
  )
  random = Series("random", (5.0,), (7.0,), number=1, baseline=True)
  front = Series("front", (1.0, 10.0), (1 / 3, 50.0), kind="steps")
  panel = Panel(
    "static & still",
    Axis("tokens", log=True),
    Axis("R@5 (%)", low=0),
    (front, points, random),
    ((5.0, "chance"),),
  )
  return Figure("pareto", "Accuracy", (panel, panel))


def test_the_csv_has_every_point_in_full(figure):
  rows = list(csv.DictReader(io.StringIO(as_csv(figure))))
  assert len(rows) == 2 * (2 + 2 + 1 + 1)
  one = next(row for row in rows if row["series"] == "a <method>")
  assert float(one["y"]) == 1 / 3 and one["high"] == "1.0"
  assert one["panel"] == "static & still" and one["x_label"] == "tokens"


def test_axes_reach_around_all_that_is_drawn(figure):
  (left, right), (bottom, top) = limits(figure.panels[0])
  assert 0 < left < 1 and right > 10 and bottom == 0 and top > 60
  assert limits(Panel("", Axis(""), Axis(""), ()))[0][0] < 0


def test_the_svg_is_told_and_every_mark_can_be_reached(figure):
  root = ElementTree.fromstring(svg.draw(figure.panels[0], "one"))
  title, described = root[0], root[1]
  assert title.text == "static & still" and title.tag == "title"
  assert "chance is at 5" in described.text and "a <method>" in described.text
  marks = [x for x in root.iter() if x.get("class") == "mark"]
  assert len(marks) == 4 and all(x.get("tabindex") == "0" for x in marks)
  tips = [x.get("data-tip") for x in marks]
  assert "a <method>\nR@5 (%): 50\ntokens: 10" in tips
  numbers = re.findall(
    r"[MLHV ](-?\d+\.?\d*)", " ".join(x.get("d") for x in marks if x.get("d"))
  )
  assert all(0 <= float(n) <= svg.WIDTH for n in numbers)


def test_an_upper_value_is_drawn_higher(figure):
  root = ElementTree.fromstring(svg.draw(figure.panels[0], "one"))
  line = next(
    x for x in root.iter() if (x.get("data-tip") or "").startswith("front")
  )
  (x0, y0), (x1, y1) = (
    map(float, part.split()) for part in line.get("d")[1:].split("L")
  )
  assert x1 > x0 and y1 < y0  # SVG counts downwards


def test_the_png_has_all_panels(figure):
  one = Figure("one", "Accuracy", figure.panels[:1])
  wide, narrow = (
    Image.open(io.BytesIO(png.draw(drawn))).width for drawn in (figure, one)
  )
  assert wide == 2 * narrow
