import dataclasses
import json

import pytest

from trajvit.bench import suite
from trajvit.bench.suite import SUITES
from trajvit.ops.attention import IMPLEMENTATIONS

TITLES = [
  "Ceilings, measured",
  "Correctness, against float64",
  "Dense attention and full lists",
  "Density",
  "Shape of the tiles",
]
SMALL = dataclasses.replace(
  SUITES["tiny"],
  implementations=("reference",),
  ceilings=(32, 1),
  checked=((20,), (8,), ("float32",)),
  lines=((64, 1, 8),),
  swept=((64, 1, 8),),
  tiled=((64, 1, 8, 0.5),),
  rounds=1,
)


@pytest.mark.slow
def test_a_suite_measures_all_of_its_parts():
  sections = list(suite.run(SMALL))
  assert [section.title for section in sections] == TITLES
  assert not any(section.failed for section in sections)
  lines, densities, tiles = (section.rows for section in sections[2:])
  assert [row["mask"] for row in lines] == ["dense", "random tiles 1"]
  assert [row["density"] for row in densities] == [1, 0.5, 1]
  assert {(r["block_query"], r["block_key"]) for r in tiles[1:]} == {
    (32, 32),
    (64, 32),
  }
  json.dumps([section.rows for section in sections])


@pytest.fixture
def unchecked(monkeypatch):
  """Leaves out the numeric check, which has tests of its own."""
  monkeypatch.setattr(suite.numerics, "check", lambda *args, **kwargs: [])


def test_nothing_is_begun_once_the_time_is_over(unchecked):
  ticks = iter([0.0, 10.0, 400.0, 500.0])
  sections = list(suite.run(SMALL, clock=lambda: next(ticks)))
  assert not sections[2].failed
  for section in sections[3:]:
    assert section.failed
    assert section.text == "64 tokens, 1 x 8: no time left"


def test_a_shape_that_fails_leaves_the_others_alone(unchecked, monkeypatch):
  sweep = suite.sweep

  def broken(length, *args, **kwargs):
    if length == 48:
      raise RuntimeError("out of luck")
    return sweep(length, *args, **kwargs)

  monkeypatch.setattr(suite, "sweep", broken)
  lines = ((48, 1, 8), (64, 1, 8))
  section = list(suite.run(dataclasses.replace(SMALL, lines=lines)))[2]
  assert section.failed
  assert "48 tokens, 1 x 8: RuntimeError: out of luck" in section.text
  assert [row["length"] for row in section.rows] == [64, 64]


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_what_there_is(name):
  wanted = SUITES[name]
  assert set(wanted.implementations + wanted.dense) <= set(IMPLEMENTATIONS)
  assert 1.0 in wanted.densities


def test_the_suite_of_a_gpu_has_the_point_that_is_asked_about():
  wanted = SUITES["h200"]
  assert 0.1 in wanted.densities
  assert any(length == 32768 for length, *_ in wanted.swept)
