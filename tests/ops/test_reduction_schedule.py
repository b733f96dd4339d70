"""Counts over depth: known schedules, sums and what cannot be."""

import itertools

import pytest

from trajvit.ops.reduction_schedule import (
  at_most_half,
  by_stage,
  kept_counts,
  removed_by_ratio,
  removed_linearly,
)


def test_tomes_schedule_is_reproduced_with_what_it_loses():
  got = removed_linearly(8, 12, inflection=-1, truncate=True)
  assert got == (16, 14, 13, 11, 10, 8, 7, 5, 4, 2, 1, 0)
  assert sum(got) == 91


def test_without_truncation_nothing_is_lost():
  got = removed_linearly(8, 12, inflection=-1)
  assert got == (16, 15, 13, 12, 10, 9, 7, 6, 4, 3, 1, 0)
  for r, depth in itertools.product((0, 1, 7, 13), (1, 2, 3, 12)):
    for inflection in (-1, -0.3, 0, 0.1, 1):
      counts = removed_linearly(r, depth, inflection=inflection)
      assert len(counts) == depth and sum(counts) == r * depth
      assert min(counts) >= 0
      direction = (inflection > 0) - (inflection < 0)
      steps = [b - a for a, b in itertools.pairwise(counts)]
      assert all(step * direction >= 0 for step in steps)
      if not inflection:
        assert set(counts) == {r}


def test_a_line_that_rises_is_one_that_falls_read_backwards():
  rising = removed_linearly(8, 12, inflection=0.5, truncate=True)
  falling = removed_linearly(8, 12, inflection=-0.5, truncate=True)
  assert rising == falling[::-1] and rising[0] == 4 and rising[-1] == 12


def test_one_block_has_the_mean():
  assert removed_linearly(5, 1, inflection=-1, truncate=True) == (5,)


def test_a_ratio_is_of_what_is_left():
  removed = removed_by_ratio(1568, [0.3, 0, 0.3, 0.3])
  left = list(itertools.accumulate(removed, lambda a, b: a - b, initial=1568))
  assert left == [1568, 1098, 1098, 769, 539]


def test_a_ratio_is_the_decimal_it_is_written_as():
  assert removed_by_ratio(100, [0.29]) == (29,)  # 28.999999999999996 in floats
  assert removed_by_ratio(10, [1.0]) == (10,)


def test_matching_removes_at_most_half_of_what_is_not_protected():
  assert at_most_half([8, 8, 8, 8], 20) == (8, 6, 3, 1)
  assert at_most_half([8, 8], 20, protected=5) == (7, 4)
  assert at_most_half([2, 2, 2], 20, protected=5) == (2, 2, 2)
  assert at_most_half([1, 1], 1, protected=1) == (0, 0)


def test_a_stage_removes_what_its_blocks_would():
  assert by_stage([5, 4, 3, 2, 1, 0], [1, 3, 2]) == (5, 9, 1)
  with pytest.raises(ValueError, match=r"the 3 blocks, got \(1, 1\)"):
    by_stage([1, 1, 1], [1, 1])


def test_kept_counts_fall_by_equal_steps_or_shares():
  assert kept_counts(100, 10, 3) == (70, 40, 10)
  assert kept_counts(1000, 1, 3, kind="geometric") == (100, 10, 1)
  assert kept_counts(7, 7, 2, kind="geometric") == (7, 7)
  for kind in ("linear", "geometric"):
    kept = kept_counts(1568, 79, 5, kind=kind)
    assert kept[-1] == 79 and list(kept) == sorted(kept, reverse=True)
  # Half at the most in each step: what matching is able to do.
  kept = (1568, *kept_counts(1568, 79, 5, kind="geometric"))
  assert all(after * 2 >= before for before, after in itertools.pairwise(kept))


@pytest.mark.parametrize(
  "call",
  [
    lambda: removed_linearly(-1, 2),
    lambda: removed_linearly(1, 0),
    lambda: removed_linearly(1, 2, inflection=1.5),
    lambda: removed_by_ratio(10, [0.5, 1.1]),
    lambda: kept_counts(10, 11, 1),
    lambda: kept_counts(10, 0, 1),
    lambda: kept_counts(10, 5, 0),
    lambda: kept_counts(10, 5, 1, kind="cosine"),
  ],
)
def test_what_is_out_of_range_is_refused(call):
  with pytest.raises(ValueError, match="got"):
    call()
