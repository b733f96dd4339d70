import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.components import (
  connected_components,
  connected_components_of_edges,
  number_components,
)

dense = jax.jit(connected_components)
sparse = jax.jit(connected_components_of_edges)
NODES, EDGES = 40, 80


def search(edges, mask):
  """The lowest index that each node can reach, by walking the graph."""
  labels = np.full(len(mask), -1)
  around = {i: set() for i in np.flatnonzero(mask)}
  for i, j in edges:
    if mask[i] and mask[j]:
      around[i].add(j)
      around[j].add(i)
  for root in around:
    open_nodes = [root] if labels[root] < 0 else []
    while open_nodes:
      node = open_nodes.pop()
      if labels[node] < 0:
        labels[node] = root
        open_nodes += around[node]
  return labels


@pytest.fixture
def graphs(rng):
  """Edges of sparse and dense graphs, and of paths in a random order."""
  graphs, masks = [], []
  for count in (0, 10, 20, 30, 40, 60, 80):
    graphs.append(rng.integers(0, NODES, (count, 2)))
    masks.append(rng.random(NODES) < 0.85)
  for _ in range(5):
    path = rng.permutation(NODES)
    graphs.append(np.stack([path[:-1], path[1:]], axis=1))
    masks.append(np.ones(NODES, bool))
  masks[0][:] = False
  return graphs, np.stack(masks)


def test_equal_a_search(graphs):
  graphs, mask = graphs
  adjacency = np.zeros((len(graphs), NODES, NODES), bool)
  edges = np.full((len(graphs), EDGES, 2), -1)
  edge_mask = np.zeros((len(graphs), EDGES), bool)
  for b, graph in enumerate(graphs):
    adjacency[b, graph[:, 0], graph[:, 1]] = True
    edges[b, : len(graph)] = graph
    edge_mask[b, : len(graph)] = True
  expected = [search(*pair) for pair in zip(graphs, mask, strict=True)]
  np.testing.assert_array_equal(dense(adjacency, mask), expected)
  np.testing.assert_array_equal(sparse(edges, edge_mask, mask), expected)
  assert (expected[-1] == 0).all()


def test_edges_that_are_not_real_connect_nothing():
  edges = np.asarray([[0, 1], [1, 2], [2, 3]])
  labels = sparse(edges, np.asarray([True, False, True]), np.ones(4, bool))
  assert labels.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
  "edges, nodes, labels",
  [
    ([(0, 5), (3, 5)], 6, [0, 1, 2, 0, 4, 0]),
    ([(0, 1), (1, 2)], 4, [0, 0, 0, 3]),
  ],
)
def test_small_graphs(edges, nodes, labels):
  adjacency = np.zeros((nodes, nodes), bool)
  adjacency[tuple(np.transpose(edges))] = True
  real = np.ones(nodes, bool)
  assert connected_components(adjacency, real).tolist() == labels
  edges = np.asarray(edges)
  every = np.ones(len(edges), bool)
  got = connected_components_of_edges(edges, every, real)
  assert got.tolist() == labels and got.dtype == jnp.int32


def test_components_are_numbered_by_their_lowest_index():
  labels = np.asarray([[0, 1, -1, 0, 4, 1], [-1] * 6])
  numbers, count = number_components(labels)
  assert numbers.tolist() == [[0, 1, -1, 0, 2, 1], [-1] * 6]
  assert count.tolist() == [3, 0]
