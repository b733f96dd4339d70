import jax
import numpy as np

from trajvit.ops.distances import (
  cosine_distances,
  euclidean_distances,
  squared_distances,
)


def test_equal_loops_over_pairs(rng):
  x = rng.normal(size=(2, 5, 3)).astype(np.float32)
  y = rng.normal(size=(2, 4, 3)).astype(np.float32)
  squared, cosine = np.zeros((2, 2, 5, 4))
  for b, i, j in np.ndindex(2, 5, 4):
    squared[b, i, j] = np.square(x[b, i] - y[b, j]).sum()
    norms = np.linalg.norm(x[b, i]) * np.linalg.norm(y[b, j])
    cosine[b, i, j] = 1 - x[b, i] @ y[b, j] / norms
  np.testing.assert_allclose(squared_distances(x, y), squared, atol=1e-5)
  np.testing.assert_allclose(
    euclidean_distances(x, y), np.sqrt(squared), atol=1e-5
  )
  np.testing.assert_allclose(cosine_distances(x, y), cosine, atol=1e-6)


def test_of_a_set_with_itself(rng):
  # Far from the origin, where rounding is as large as the distances.
  x = (1000 + rng.normal(size=(6, 8)) * 1e-2).astype(np.float32)
  for distances in (squared_distances, euclidean_distances, cosine_distances):
    got = np.asarray(distances(x))
    assert (np.diag(got) == 0).all() and (got >= 0).all()
    np.testing.assert_array_equal(got, got.T)


def test_zeros_are_at_right_angles_to_all(rng):
  x = rng.normal(size=(3, 4)).astype(np.float32)
  x[1] = 0
  got = np.asarray(cosine_distances(x))
  assert got[1].tolist() == [1, 0, 1]


def test_gradients_are_finite_where_points_coincide():
  x = np.asarray([[1.0, 2], [1, 2], [0, 0], [0, 0]], np.float32)

  def total(x):
    return euclidean_distances(x).sum() + cosine_distances(x, x).sum()

  gradient = np.asarray(jax.jit(jax.grad(total))(x))
  assert np.isfinite(gradient).all() and gradient[0].any()
