import jax
import numpy as np
import pytest

from trajvit.ops.quadtree import quadtree, quadtree_levels

grow = jax.jit(quadtree, static_argnames=("threshold", "root_level"))


def test_levels():
  assert quadtree_levels(14, 14) == ((2, 2), (4, 4), (7, 7), (14, 14))
  assert quadtree_levels(3, 9) == ((2, 5), (3, 9))
  assert quadtree_levels(1, 5) == ((1, 5),)


@pytest.mark.parametrize(
  "side, nodes, owner",
  [
    (4, 7, [0, 1, 2, 2, 4, 5, 2, 2, 8, 8, 10, 10, 8, 8, 10, 10]),
    (3, 4, [0, 1, 1, 3, 4, 4, 3, 4, 4]),
  ],
)
def test_one_odd_cell_in_a_corner(side, nodes, owner):
  x = np.zeros((side, side, 2), np.float32)
  x[..., 0] = 1
  x[0, 0] = [0, 1]
  got, node = grow(x, np.ones((side, side), bool), threshold=0.9)
  assert got.ravel().tolist() == owner
  assert len(np.unique(got)) == nodes
  np.testing.assert_allclose(node, x, atol=1e-6)


def children(i, side):
  """The rows of the level below under row i, where it has `side`."""
  if side % 2:
    return [0] if i == 0 else [2 * i - 1, 2 * i]
  return [2 * i, 2 * i + 1]


def slow(x, mask, threshold, root):
  """The nodes as lists of cells, by a recursion from the roots."""
  levels = quadtree_levels(*mask.shape)[root:]

  def below(level, y, x):
    height, width = levels[level + 1]
    return [(i, j) for i in children(y, height) for j in children(x, width)]

  def cells(level, at):
    if level == len(levels) - 1:
      return [at] if mask[at] else []
    return [c for b in below(level, *at) for c in cells(level + 1, b)]

  def mean(level, at):
    if level == len(levels) - 1:
      return x[at]
    real = [b for b in below(level, *at) if cells(level + 1, b)]
    return np.mean([mean(level + 1, b) for b in real], axis=0)

  def visit(level, at):
    if not cells(level, at):
      return []
    if level == len(levels) - 1:
      return [[at]]
    own = mean(level, at)
    parts = [b for b in below(level, *at) if cells(level + 1, b)]
    for part in parts:
      other = mean(level + 1, part)
      cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
      if cosine < threshold:
        return [node for b in parts for node in visit(level + 1, b)]
    return [cells(level, at)]

  return [n for at in np.ndindex(levels[0]) for n in visit(0, at)]


@pytest.mark.parametrize("root", [0, 1, 9])
def test_equals_a_recursion(rng, root):
  x = rng.normal(size=(3, 7, 10, 3)).astype(np.float32) * 0.6 + [2, 0, 0]
  mask = rng.random((3, 7, 10)) < 0.9
  mask[2] = False
  owner, node = grow(
    np.where(mask[..., None], x, np.nan), mask, threshold=0.93, root_level=root
  )
  assert np.isfinite(node).all() and (owner[2] == -1).all()
  sizes = set()
  for b in range(2):
    expected = np.full((7, 10), -1)
    nodes = slow(
      x[b], mask[b], 0.93, min(root, len(quadtree_levels(7, 10)) - 1)
    )
    for cells in nodes:
      sizes.add(len(cells))
      for at in cells:
        expected[at] = min(y * 10 + x for y, x in cells)
    np.testing.assert_array_equal(owner[b], expected)
  assert len(sizes) > 2 or root == 9
