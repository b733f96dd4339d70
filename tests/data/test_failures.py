"""The failure budget: when it is spent, and what it then says."""

import logging

import pytest

from trajvit.data.failures import WORST, FailureBudget, TooManyBrokenClips


def test_budget_is_spent_only_above_the_rate_and_after_enough_attempts():
  budget = FailureBudget(budget=0.25, after=8)
  budget.record(0, [("a", "bad")] * 7)  # 7 attempts, all of them failures
  budget = FailureBudget(budget=0.25, after=8)
  budget.record(6, [("a", "bad"), ("b", "bad")])  # 2 of 8 is not above 1/4
  assert (budget.attempts, budget.failures, budget.rate) == (8, 2, 0.25)
  with pytest.raises(TooManyBrokenClips):
    budget.record(1, [("a", "bad")])  # 3 of 10


def test_error_names_rate_budget_counts_and_the_worst_files():
  budget = FailureBudget(budget=0.05, after=10)
  skipped = [("rare.mp4", "no video stream")]
  skipped += [("often.mp4", "truncated")] * 3
  skipped += [(f"once{i}.mp4", "empty") for i in range(WORST)]
  with pytest.raises(TooManyBrokenClips) as error:
    budget.record(31, skipped)
  first, *files = str(error.value).split("\n")
  assert "22.5%" in first and "5.0%" in first and "9 of 40" in first
  assert len(files) == WORST
  assert files[0] == "  3 x often.mp4: truncated"
  assert files[1] == "  1 x rare.mp4: no video stream"


def test_a_file_is_logged_once(caplog):
  budget = FailureBudget()
  with caplog.at_level(logging.WARNING, logger="absl"):
    budget.count(1, [("a.mp4", "empty"), ("a.mp4", "empty")])
    budget.count(1, [("a.mp4", "empty"), ("b.mp4", "cut")])
  assert [record.getMessage() for record in caplog.records] == [
    "skipped a.mp4: empty",
    "skipped b.mp4: cut",
  ]
  assert budget.files == {"a.mp4": 3, "b.mp4": 1}
  assert len(budget) == 2


def test_counting_alone_never_raises():
  budget = FailureBudget(budget=0, after=1)
  budget.count(0, [("a", "bad")])
  assert budget.rate == 1
  with pytest.raises(TooManyBrokenClips):
    budget.record(1, [])


def test_summary_is_one_line():
  budget = FailureBudget()
  assert budget.rate == 0
  budget.count(4, [])
  assert budget.summary() == "all 4 reads succeeded"
  budget.count(0, [("a", "bad")])
  assert budget.summary() == "1 of 5 reads failed (20.0%), 1 file"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"budget": 1.5}, "failure_budget must be in .* got 1.5"),
    ({"budget": -0.1}, "failure_budget"),
    ({"after": 0}, "budget_after must be at least 1, got 0"),
  ],
)
def test_arguments_out_of_range(arguments, message):
  with pytest.raises(ValueError, match=message):
    FailureBudget(**arguments)
