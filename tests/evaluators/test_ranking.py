"""`ranks` against a loop written from the definition."""

import numpy as np
import pytest

from trajvit.evaluators.ranking import ranks


def slow_ranks(queries, items, query_ids, item_ids, groups=None):
  """The rank, one query and one item at a time."""
  result = []
  for i, query in enumerate(queries):
    best, rivals = -np.inf, []
    for j, item in enumerate(items):
      if groups is not None and groups[0][i] != groups[1][j]:
        continue
      score = float(sum(a * b for a, b in zip(query, item, strict=True)))
      if item_ids[j] != query_ids[i]:
        rivals.append(np.inf if np.isnan(score) else score)
      elif not np.isnan(score):
        best = max(best, score)
    result.append(1 + sum(rival >= best for rival in rivals))
  return np.array(result, np.int32)


def draw(seed, num_queries=23, num_items=31, num_ids=9, values=3):
  """Small integers, so that scores are exact and ties are many."""
  rng = np.random.default_rng(seed)
  shapes = (num_queries, 4), (num_items, 4)
  queries, items = (
    rng.integers(-values, values + 1, s).astype("f") for s in shapes
  )
  ids = (rng.integers(0, num_ids, n).astype("i") for n, _ in shapes)
  return queries, items, *ids


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chunk", [1, 8, 23, 256])
def test_equals_the_loop(seed, chunk):
  args = draw(seed, values=1 + seed)
  got = ranks(*args, chunk=chunk)
  assert got.dtype == np.int32
  np.testing.assert_array_equal(got, slow_ranks(*args))


@pytest.mark.parametrize("seed", range(3))
def test_groups_equal_the_loop(seed):
  args = draw(seed)
  rng = np.random.default_rng(100 + seed)
  groups = [rng.integers(0, 4, len(a)).astype("i") for a in args[:2]]
  got = ranks(*args, query_groups=groups[0], item_groups=groups[1])
  np.testing.assert_array_equal(got, slow_ranks(*args, groups))


@pytest.mark.parametrize("seed", range(3))
def test_nan_is_the_worst(seed):
  queries, items, *ids = draw(seed)
  items[::5, 1] = np.nan
  queries[3, 0] = np.nan
  got = ranks(queries, items, *ids)
  np.testing.assert_array_equal(got, slow_ranks(queries, items, *ids))
  assert got[3] == 1 + np.sum(ids[1] != ids[0][3])


def test_a_constant_encoder_comes_last():
  """Also where a matrix product sums its last columns in another order."""
  vector = np.random.default_rng(0).normal(size=768).astype("f")
  vector /= np.linalg.norm(vector)
  for count in (33, 257, 300):
    same = np.tile(vector, (count, 1))
    ids = np.arange(count, dtype="i")
    got = ranks(same, same, ids, ids, tolerance=1e-6)
    np.testing.assert_array_equal(got, np.full(count, count))


def test_several_correct_items_do_not_hinder_each_other():
  items = np.eye(4, dtype="f")
  query = np.array([[0.1, 0.9, 0.8, 0.5]], "f")
  ids = np.array([7, 7, 7, 1], "i")
  assert ranks(query, items, np.array([7], "i"), ids) == 1
  assert ranks(query, items, np.array([1], "i"), ids) == 3


def test_without_a_correct_item_all_are_ahead():
  queries, items, query_ids, item_ids = draw(0)
  got = ranks(queries, items, query_ids + 100, item_ids)
  np.testing.assert_array_equal(got, len(items) + 1)


def test_tolerance_counts_near_ties():
  items = np.array([[1.0], [0.9]], "f")
  ids = np.array([0, 1], "i")
  query = np.ones((1, 1), "f")
  assert ranks(query, items, ids[:1], ids, tolerance=0.05) == 1
  assert ranks(query, items, ids[:1], ids, tolerance=0.2) == 2


def test_permuting_items_changes_nothing():
  queries, items, query_ids, item_ids = draw(1)
  order = np.random.default_rng(0).permutation(len(items))
  np.testing.assert_array_equal(
    ranks(queries, items, query_ids, item_ids),
    ranks(queries, items[order], query_ids, item_ids[order]),
  )


def test_large_galleries_fit():
  rng = np.random.default_rng(0)
  count, chunk = 4096, 256
  items = rng.normal(size=(count, 64)).astype("f")
  queries = items + rng.normal(size=items.shape, scale=2).astype("f")
  ids = np.arange(count, dtype="i")
  got = np.asarray(ranks(queries, items, ids, ids, chunk=chunk))
  rows = slice(0, count, 512)
  scores = queries[rows].astype("d") @ items.astype("d").T
  own = scores[np.arange(len(scores)), ids[rows]]
  np.testing.assert_array_equal(got[rows], (scores >= own[:, None]).sum(1))
  compiled = ranks.lower(queries, items, ids, ids, chunk=chunk).compile()
  memory = compiled.memory_analysis().temp_size_in_bytes
  assert memory < count * count, "less than a byte a pair"


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(items=np.ones((5, 3), "f")), "queries and items"),
    (dict(query_ids=np.zeros(4, "i")), "ids must be"),
    (dict(query_groups=np.zeros(3, "i")), "go together"),
  ],
)
def test_says_what_was_expected(change, message):
  good = dict(
    queries=np.ones((3, 4), "f"),
    items=np.ones((5, 4), "f"),
    query_ids=np.zeros(3, "i"),
    item_ids=np.zeros(5, "i"),
  )
  assert ranks(**good).shape == (3,)
  with pytest.raises(ValueError, match=message):
    ranks(**{**good, **change})
