import jax
import numpy as np

from trajvit.ops.clustering import Clusters
from trajvit.ops.group_sums import (
  cluster_sums,
  group_means,
  is_center,
  segment_sums,
)
from trajvit.ops.segments import segments_from_starts


def test_sums_over_segments(rng):
  mask = np.asarray([[1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
  starts = np.asarray([[0, 0, 0, 1, 0, 0]] * 2, bool)
  segments = segments_from_starts(starts, mask, 3)
  x = rng.normal(size=(2, 6, 2)).astype(np.float32)
  first, second = x[0, [0, 1]].sum(0), x[0, 3:].sum(0)
  expected = np.zeros_like(x)
  expected[0, :2], expected[0, 3:] = first, second
  got = jax.jit(segment_sums)(x, segments)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  counts = segment_sums(mask, segments)
  assert counts.tolist() == [[2, 2, 0, 3, 3, 3], [0] * 6]
  assert np.issubdtype(counts.dtype, np.integer)


def test_means_of_clusters(rng):
  clusters = Clusters(
    labels=np.asarray([0, 1, -1, 0, 0, 2]),
    centers=np.asarray([3, 1, 5]),
    sizes=np.asarray([3, 1, 1]),
  )
  x = rng.normal(size=(6, 2)).astype(np.float32)
  size = np.arange(1, 7, dtype=np.float32)

  @jax.jit
  def run(x, size):
    return group_means(x, size, lambda y: cluster_sums(y, clusters))

  mean, total = run(x, size)
  members = [0, 3, 4]
  np.testing.assert_allclose(mean[3], x[members].mean(0), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(mean[1], x[1])  # alone
  assert total.tolist() == [10, 2, 0, 10, 10, 6]
  assert is_center(clusters).tolist() == [False, True, False, True, False, True]
