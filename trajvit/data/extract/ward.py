"""Ward clustering of the regions of a graph."""

import heapq

import numpy as np


def merge_regions(
  size: np.ndarray,
  mean: np.ndarray,
  edges: np.ndarray,
  gap: np.ndarray,
  *,
  limit: float,
  max_regions: int,
) -> np.ndarray:
  """Merges neighbours, the cheapest pair first, and returns who ends together.

  A merge of i and j costs (||mean_i - mean_j||^2 + gap_ij^2) * s_i s_j /
  (s_i + s_j): with no gap, what Ward (1963) adds to the sum of squares. Where
  two edges become one the smaller gap stays.

  Args:
    size: [R] float, above 0.
    mean: [R, C] float.
    edges: [E, 2] int pairs i != j, each pair once.
    gap: [E] float.
    limit: merging ends at the first cost above it,
    max_regions: but goes on while there are more regions than this.

  Returns:
    [R] int64, the cluster of every region: the number of one of its members.
    More than `max_regions` are left only if no edge joins them.
  """
  size, mean = size.tolist(), [tuple(row) for row in mean.tolist()]
  neighbours = [{} for _ in size]  # region -> {neighbour: gap}
  for (i, j), g in zip(edges.tolist(), gap.tolist(), strict=True):
    neighbours[i][j] = neighbours[j][i] = g
  parent = list(range(len(size)))
  version = [0] * len(size)  # changes with a region; -1 when merged away

  def candidate(i, j, g):
    squares = g * g
    for a, b in zip(mean[i], mean[j], strict=True):
      squares += (a - b) * (a - b)
    cost = squares * size[i] * size[j] / (size[i] + size[j])
    i, j = min(i, j), max(i, j)  # equal costs pop in an order of their own
    return cost, i, j, version[i], version[j]

  heap = [
    candidate(i, j, g)
    for i, around in enumerate(neighbours)
    for j, g in around.items()
    if i < j
  ]
  heapq.heapify(heap)
  alive = len(size)
  while heap:
    cost, i, j, version_i, version_j = heapq.heappop(heap)
    if version[i] != version_i or version[j] != version_j:
      continue  # priced before one of them changed
    if cost > limit and alive <= max_regions:
      break
    if len(neighbours[i]) < len(neighbours[j]):
      i, j = j, i  # i takes over j
    total = size[i] + size[j]
    mean[i] = tuple(
      (a * size[i] + b * size[j]) / total
      for a, b in zip(mean[i], mean[j], strict=True)
    )
    size[i] = total
    parent[j] = i
    version[i] += 1
    version[j] = -1
    alive -= 1
    del neighbours[i][j], neighbours[j][i]
    for k, g in neighbours[j].items():
      del neighbours[k][j]
      g = min(g, neighbours[i].get(k, g))
      neighbours[i][k] = neighbours[k][i] = g
    for k, g in neighbours[i].items():
      heapq.heappush(heap, candidate(i, k, g))
  return _roots(parent)


def _roots(parent: list[int]) -> np.ndarray:
  """Follows every chain of parents to its end."""
  roots = np.array(parent)
  while True:
    further = roots[roots]
    if np.array_equal(further, roots):
      return roots
    roots = further
