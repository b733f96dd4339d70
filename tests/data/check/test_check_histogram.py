"""Histograms: every clip in one bin, of round widths."""

import numpy as np
import pytest

from trajvit.data.check.clip import ClipCheck
from trajvit.data.check.figure import draw
from trajvit.data.check.histogram import bars, histogram, histograms, table


@pytest.mark.parametrize("scale", [0.01, 1, 30, 1e4])
@pytest.mark.parametrize("whole", [False, True])
def test_every_value_is_in_one_bin(rng, scale, whole):
  for size in 1, 2, 30, 500:
    values = rng.lognormal(0, 1, size) * scale
    if whole:
      values = np.round(values)
    found = histogram("length", "s", values)
    assert found.clips.sum() == size
    assert (np.diff(found.edges) > 0).all() and len(found.clips) <= 13
    for low, high, clips in zip(
      found.edges[:-1], found.edges[1:], found.clips, strict=True
    ):
      assert ((values >= low) & (values < high)).sum() == clips
    if whole:
      assert not (found.edges[:-1] % 1).any()


def test_a_few_long_ones_do_not_widen_the_bins():
  values = [1, 2, 2, 3, 4] * 40 + [1000]
  found = histogram("length", "s", values)
  assert found.edges[:-1].tolist() == [1, 2, 3, 4, 5]
  assert found.clips.tolist() == [40, 80, 40, 40, 1]
  assert found.edges[-1] > 1000


def test_bars():
  lines = bars(histogram("frames", "", [8, 8, 9, 9, 9, 9])).splitlines()
  assert lines[0] == "frames: 6 clips, median 9, 8 to 9"
  assert lines[1:] == [
    f"   8 ..  9  {'#' * 20} 2",
    f"   9 .. 10  {'#' * 40} 4",
  ]


def test_each_property_is_counted_where_it_is_known(tmp_path):
  video = dict(height=20, width=30, frames=8, fps=4.0, seconds=2.0)
  checks = [
    ClipCheck("a", None, tracks=3, **video),
    ClipCheck("b", None, tracks=5, **video),
    ClipCheck("image", None, height=10, width=40, frames=1),
    ClipCheck("made", None, tracks=4),
    ClipCheck("bad", "empty", **video),
  ]
  found = histograms(checks)
  assert {h.name: h.values.tolist() for h in found} == {
    "duration": [2, 2],
    "frame rate": [4, 4],
    "frames": [8, 8],
    "short side": [10, 20, 20],
    "tracks": [3, 4, 5],
  }
  rows = [row.split(",") for row in table(found).splitlines()]
  assert rows[0] == ["property", "unit", "from", "to", "clips"]
  assert ["short side", "px", "20", "21", "2"] in rows
  draw(found, tmp_path / "all.png")
  assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
  assert histograms([]) == []
