"""Region merging against a slow one written from its definition."""

import numpy as np
import pytest

from trajvit.data.extract.ward import merge_regions


def slow_merge(size, mean, edges, gap, limit, max_regions):
  """Scans all pairs before every merge."""
  groups = [{i} for i in range(len(size))]
  gaps = {frozenset(e): g for e, g in zip(map(tuple, edges), gap, strict=True)}

  def cost(a, b):
    between = [
      gaps[frozenset((i, j))] for i in a for j in b if frozenset((i, j)) in gaps
    ]
    if not between:
      return np.inf
    sizes = [sum(size[i] for i in group) for group in (a, b)]
    means = [
      np.average(mean[list(g)], axis=0, weights=size[list(g)]) for g in (a, b)
    ]
    squares = ((means[0] - means[1]) ** 2).sum() + min(between) ** 2
    return squares * sizes[0] * sizes[1] / sum(sizes)

  while len(groups) > 1:
    costs = {
      (x, y): cost(groups[x], groups[y])
      for y in range(len(groups))
      for x in range(y)
    }
    x, y = min(costs, key=costs.get)
    if np.isinf(costs[x, y]):
      break
    if costs[x, y] > limit and len(groups) <= max_regions:
      break
    groups[x] |= groups.pop(y)
  return {frozenset(group) for group in groups}


def partition(clusters):
  return {
    frozenset(np.flatnonzero(clusters == c).tolist()) for c in set(clusters)
  }


def random_graph(rng, count=14):
  pairs = np.stack(np.triu_indices(count, 1), axis=1)
  edges = pairs[rng.random(len(pairs)) < 0.25]
  return dict(
    size=rng.uniform(0.5, 2, count),
    mean=rng.normal(size=(count, 3)),
    edges=edges,
    gap=rng.uniform(0, 1, len(edges)),
  )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit, most", [(1.0, 14), (0.0, 3), (3.0, 5)])
def test_equals_the_slow_one(seed, limit, most):
  graph = random_graph(np.random.default_rng(seed))
  clusters = merge_regions(**graph, limit=limit, max_regions=most)
  slow = slow_merge(*graph.values(), limit, most)
  assert partition(clusters) == slow
  assert 1 < len(slow) < 14


def test_the_order_of_edges_is_of_no_matter(rng):
  graph = random_graph(rng)
  order = rng.permutation(len(graph["edges"]))
  shuffled = graph | dict(edges=graph["edges"][order], gap=graph["gap"][order])
  options = dict(limit=1.0, max_regions=10)
  assert np.array_equal(
    merge_regions(**graph, **options), merge_regions(**shuffled, **options)
  )


def test_unconnected_regions_stay_apart():
  clusters = merge_regions(
    np.ones(4),
    np.zeros((4, 3)),
    np.array([[0, 1], [2, 3]]),
    np.zeros(2),
    limit=10,
    max_regions=1,
  )
  assert partition(clusters) == {frozenset({0, 1}), frozenset({2, 3})}
