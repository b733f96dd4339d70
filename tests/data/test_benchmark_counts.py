"""Counts that a benchmark states are held against what is there."""

import pytest

from trajvit.data.benchmarks.counts import check_counts


def test_all_that_differs_is_named():
  expected = {"clips": 1000, "captions": 1000, "classes": 3}
  check_counts("x test", expected, {**expected, "more": 1})
  with pytest.raises(
    ValueError, match="x test: .*1000 clips, found 997.*"
  ) as e:
    check_counts("x test", expected, {"clips": 997, "captions": 1000})
  assert "3 classes, found 0" in str(e.value)
  assert "captions" not in str(e.value)
