"""Counts that a benchmark states are held against what is there."""

import pytest

from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.counts import check_counts
from trajvit.data.manifest import Record


def test_all_that_differs_is_named():
  expected = {"clips": 1000, "captions": 1000, "classes": 3}
  check_counts("x test", expected, {**expected, "more": 1})
  with pytest.raises(
    ValueError, match="x test: .*1000 clips, found 997.*"
  ) as e:
    check_counts("x test", expected, {"clips": 997, "captions": 1000})
  assert "3 classes, found 0" in str(e.value)
  assert "captions" not in str(e.value)


class _Pair(Benchmark):
  splits = {"test": Split("Two clips.", {"clips": 2, "captions": 3})}

  def read(self, root, split):
    names = sorted(path.name for path in root.iterdir())
    return Listing(
      tuple(Record(str(root / n), False, ("a", "b")) for n in names)
    )


def test_a_split_is_held_to_its_counts(tmp_path):
  for name in ("a.mp4", "b.mp4"):
    (tmp_path / name).touch()
  with pytest.raises(ValueError, match="_Pair test: expected 3 captions"):
    _Pair().listing(str(tmp_path), "test")
  listing = _Pair().listing(str(tmp_path), "test", counts=False)
  assert listing.counts() == {
    "clips": 2,
    "files": 2,
    "captions": 4,
    "classes": 0,
  }
  with pytest.raises(ValueError, match="no split 'train'; known: test"):
    _Pair().listing(str(tmp_path), "train")
  with pytest.raises(ValueError, match="no folder"):
    _Pair().listing(str(tmp_path / "none"), "test")
