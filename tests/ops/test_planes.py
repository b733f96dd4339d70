"""Reading a plane between its cells, against a loop."""

import jax
import numpy as np

from trajvit.ops.planes import bilinear


def slow(plane, at):
  """One point in one plane [a, b, D]."""
  out = np.zeros(plane.shape[-1])
  sizes = plane.shape[:2]
  places = [
    min(max(u * n - 0.5, 0), n - 1) for u, n in zip(at, sizes, strict=True)
  ]
  for i in range(plane.shape[0]):
    for j in range(plane.shape[1]):
      near = max(0, 1 - abs(places[0] - i)) * max(0, 1 - abs(places[1] - j))
      out += near * plane[i, j]
  return out


def test_equals_a_loop(rng):
  plane = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  at = rng.random((2, 9, 2)).astype(np.float32)
  at[:, :4] = [[0, 0], [1, 1], [0, 1], [0.5, 0.05]]
  got = bilinear(plane, at)
  for b in range(2):
    for p in range(9):
      np.testing.assert_allclose(got[b, p], slow(plane[b], at[b, p]), atol=1e-5)


def test_centres_are_the_cells_themselves(rng):
  plane = rng.normal(size=(1, 3, 4, 5)).astype(np.float32)
  at = (np.indices((3, 4)).reshape(2, -1).T + 0.5) / np.array([3, 4])
  got = bilinear(plane, at[None].astype(np.float32))
  np.testing.assert_allclose(got[0], plane.reshape(12, 5), atol=1e-6)


def test_the_gradient_is_the_share_of_each_cell(rng):
  plane = rng.normal(size=(1, 2, 2, 1)).astype(np.float32)
  at = np.array([[[0.375, 0.5]]], np.float32)
  got = jax.grad(lambda x: bilinear(x, at).sum())(plane)
  np.testing.assert_allclose(got[0, ..., 0], [[0.375] * 2, [0.125] * 2])


def test_a_plane_of_one_cell(rng):
  plane = rng.normal(size=(1, 1, 1, 5)).astype(np.float32)
  got = bilinear(plane, rng.random((1, 3, 2)).astype(np.float32))
  np.testing.assert_allclose(got[0], np.tile(plane[0, 0], (3, 1)), atol=1e-6)
