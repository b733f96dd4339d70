import math

import pytest

from trajvit.training.collapse import CollapseAlarm


def alarms(values, **options):
  alarm = CollapseAlarm(**options)
  return [alarm({"a/usage": v, "train/loss": 0.0}) for v in values]


def test_it_takes_several_rows_and_is_told_once():
  rows = [0.05, 0.05, 0.5, 0.05, 0.05, 0.05, 0.05]
  found = alarms(rows, patience=3, metric="usage")
  assert found == [[], [], [], [], [], ["a"], []]


def test_a_quantizer_that_recovered_is_told_again():
  found = alarms([0, 1, 0], patience=1, metric="usage")
  assert found == [["a"], [], ["a"]]


def test_the_threshold_itself_and_nan_are_no_collapse():
  assert alarms([0.1, math.nan], patience=1, metric="usage") == [[], []]


def test_quantizers_are_counted_apart_and_absent_rows_keep_the_count():
  alarm = CollapseAlarm(patience=2)
  low = {"b/usage_of_expected": 0.0}
  both = low | {"x/a/usage_of_expected": 0.0}
  assert alarm(low) == []
  assert alarm({"train/loss": 1.0}) == []
  assert alarm(both) == ["b"]
  assert alarm(both) == ["x/a"]


def test_no_patience_is_refused():
  with pytest.raises(ValueError, match="at least 1, got 0"):
    CollapseAlarm(patience=0)
