import jax
import numpy as np
import pytest

from trajvit.ops.farthest import farthest_points

pick = jax.jit(farthest_points, static_argnames="count")


def slow(distances, mask, count, first, score):
  picked = [first]
  while len(picked) < min(count, mask.sum()):
    best, best_gain = None, None
    for j in np.flatnonzero(mask):
      gain = score[j] + min(distances[i, j] for i in picked)
      if j not in picked and (best is None or gain > best_gain):
        best, best_gain = j, gain
    picked.append(best)
  return picked


@pytest.mark.parametrize("run", [farthest_points, pick], ids=["eager", "jit"])
def test_the_picks_of_five_points_on_a_line(run):
  points = np.asarray([0.0, 1, 5, 6, 10])
  distances = np.abs(points[:, None] - points)
  indices, real = run(distances, np.ones(5, bool), 3)
  assert indices.tolist() == [0, 4, 2] and real.all()


def test_maximal_marginal_relevance_of_four_tokens():
  cosine = np.eye(4)
  pairs = {(0, 1): 0.95, (0, 2): 0.1, (0, 3): 0.2}
  pairs |= {(1, 2): 0.1, (1, 3): 0.2, (2, 3): 0.3}
  for (i, j), value in pairs.items():
    cosine[i, j] = cosine[j, i] = value
  importance = np.asarray([1, 0.9, 0.5, 0])
  indices, _ = pick(
    -0.5 * cosine, np.ones(4, bool), 3, 0, score=0.5 * importance
  )
  assert indices.tolist() == [0, 2, 1]


@pytest.fixture
def case(rng):
  """Distances that are not symmetric, few or no real tokens, NaN elsewhere."""
  distances = rng.normal(size=(4, 9, 9)).astype(np.float32)
  mask = rng.random((4, 9)) < 0.7
  mask[0], mask[2], mask[3] = True, False, np.arange(9) == 4
  score = rng.normal(size=(4, 9)).astype(np.float32)
  pair = mask[:, :, None] & mask[:, None]
  first = np.argmax(np.where(mask, score, -np.inf), axis=1)
  return np.where(pair, distances, np.nan), mask, first, score


def test_equals_a_loop(case):
  distances, mask, first, score = case
  indices, real = pick(
    distances, mask, 5, first, score=np.where(mask, score, np.nan)
  )
  for b in range(4):
    count = min(5, mask[b].sum())
    assert real[b].tolist() == [k < count for k in range(5)]
    assert len(set(indices[b].tolist())) == 5
    if count:
      expected = slow(distances[b], mask[b], 5, first[b], score[b])
      assert indices[b, :count].tolist() == expected


def test_equal_distances_prefer_the_lowest_index():
  indices, _ = pick(1 - np.eye(6), np.ones(6, bool), 4, 3)
  assert indices.tolist() == [3, 0, 1, 2]


def test_permuting_tokens_permutes_the_picks(case, rng):
  distances, _, _, score = case
  order = rng.permutation(9)
  real = np.ones(9, bool)
  indices, _ = pick(distances[0], real, 5, 2, score=score[0])
  permuted, _ = pick(
    distances[0][order][:, order],
    real,
    5,
    np.flatnonzero(order == 2)[0],
    score=score[0][order],
  )
  assert order[permuted].tolist() == indices.tolist()


@pytest.mark.parametrize("count", [0, 5])
def test_a_count_that_cannot_be_is_refused(count):
  with pytest.raises(ValueError, match=rf"\[1, 4\].* got {count}"):
    farthest_points(np.zeros((4, 4)), np.ones(4, bool), count)
