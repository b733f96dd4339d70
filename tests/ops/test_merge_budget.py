import numpy as np
import pytest

from trajvit.ops.merge_budget import most_similar, plan_best


def test_the_most_similar_join():
  similarity = np.asarray([[-np.inf, 0.5, 0.9, 0.5]] * 3, np.float32)
  count = np.asarray([0, 2, 4])
  joins = most_similar(similarity, count)
  assert joins.tolist() == [[False] * 4, [False, True, True, False]] + [
    [False, True, True, True]
  ]
  joins = most_similar(similarity, count, 0.6)
  assert joins.sum(1).tolist() == [0, 1, 1] and joins[:, 2].tolist()[1:]


def test_the_best_groups_find_slots():
  target = np.asarray([[0, 1, 1, 3, 4, 3, 6]] * 2)
  mask = np.ones((2, 7), bool)
  mask[1, 3:] = False
  score = np.asarray([[0, 2, 9, 3, 1, 9, 9]] * 2, np.float32)
  protected = np.broadcast_to(np.arange(7) < 1, (2, 7))
  plan = plan_best(target, mask, score, slots=3, protected=protected)
  # The scores of tokens that join another are not read.
  assert plan.owner.tolist() == [
    [0, -1, -1, 1, -1, 1, 2],
    [0, 1, 1, -1, -1, -1, -1],
  ]
  assert plan.overflow.tolist() == [3, 0]
  assert plan.mask.tolist() == [[True] * 3, [True, True, False]]
  with pytest.raises(ValueError, match="got 8"):
    plan_best(target, mask, score, slots=8)
