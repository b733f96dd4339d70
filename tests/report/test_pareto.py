"""The Pareto front against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.report.pareto import front, staircase

few = st.integers(0, 4)
points = st.lists(st.tuples(few, few), max_size=8)


def beaten(points, i):
  (cost, score) = points[i]
  return any(
    c <= cost and s >= score and (c < cost or s > score) for c, s in points
  )


@settings(max_examples=50)
@given(points)
def test_the_front_is_what_nothing_beats(points):
  costs, scores = [c for c, _ in points], [s for _, s in points]
  kept = front(costs, scores)
  assert set(kept) == {i for i in range(len(points)) if not beaten(points, i)}
  assert len(kept) == len(set(kept))
  assert np.all(np.diff([costs[i] for i in kept]) >= 0)
  assert np.all(np.diff([scores[i] for i in kept]) >= 0)


def test_the_line_is_the_best_score_that_a_cost_buys():
  corners = staircase([(1, 10), (3, 20)], right=5)
  assert corners == [(1, 10), (3, 10), (3, 20), (5, 20)]
  assert staircase([(1, 10)], right=1) == [(1, 10)]
  assert staircase([], right=1) == []


def test_costs_and_scores_go_together():
  with pytest.raises(ValueError, match="got 2 costs for 1 scores"):
    front([1, 2], [1])
