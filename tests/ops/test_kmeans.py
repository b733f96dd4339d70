import jax
import numpy as np
import pytest

from trajvit.ops.kmeans import kmeans

cluster = jax.jit(kmeans, static_argnames="iterations")


def slow(x, mask, seeds, weights, iterations):
  centers = [x[s] if mask[s] else None for s in seeds]
  for _ in range(iterations):
    members = [[] for _ in seeds]
    for i in np.flatnonzero(mask):
      gaps = [
        np.inf if c is None else np.linalg.norm(x[i] - c) for c in centers
      ]
      members[np.argmin(gaps)].append(i)
    for k, inside in enumerate(members):
      if sum(weights[i] for i in inside):
        centers[k] = np.average(x[inside], axis=0, weights=weights[inside])
  return centers, members


@pytest.fixture
def case(rng):
  """Clips of 12 slots: all real, some, none; NaN in masked ones."""
  x = rng.normal(size=(3, 12, 4)).astype(np.float32)
  mask = np.ones((3, 12), bool)
  mask[1] = np.arange(12) % 3 > 0
  mask[2] = False
  weights = rng.random((3, 12)).astype(np.float32)
  seeds = np.asarray([[0, 4, 7], [1, 3, 8], [0, 1, 2]])  # 3 is masked
  x = np.where(mask[..., None], x, np.nan)
  return x, mask, seeds, np.where(mask, weights, np.nan)


@pytest.mark.parametrize("iterations", [1, 10])
def test_equals_a_loop(case, iterations):
  x, mask, seeds, weights = case
  centers, labels, sizes = cluster(
    x, mask, seeds, weights=weights, iterations=iterations
  )
  for b in range(2):
    means, members = slow(x[b], mask[b], seeds[b], weights[b], iterations)
    expected = np.full(12, -1)
    for k, inside in enumerate(members):
      expected[inside] = k
      if means[k] is not None:
        np.testing.assert_allclose(centers[b, k], means[k], atol=1e-5)
      total = sum(weights[b, i] for i in inside)
      np.testing.assert_allclose(sizes[b, k], total, rtol=1e-5)
    np.testing.assert_array_equal(labels[b], expected)
  assert sizes[1, 1] == 0 and not centers[1, 1].any()
  assert (labels[2] == -1).all() and not centers[2].any() and not sizes[2].any()


@pytest.mark.parametrize("run", [kmeans, cluster], ids=["eager", "jit"])
def test_an_empty_cluster_keeps_its_mean_and_is_counted(run):
  x = np.asarray([[0.0], [0], [9], [11]], np.float32)
  centers, labels, sizes = run(x, np.ones(4, bool), np.asarray([0, 1, 2]))
  assert labels.tolist() == [0, 0, 2, 2]
  assert centers.ravel().tolist() == [0, 0, 10]
  assert sizes.tolist() == [2, 0, 2]


def test_a_weight_of_two_is_two_tokens(rng):
  x = rng.normal(size=(6, 2)).astype(np.float32)
  seeds = np.asarray([0, 3])
  weights = np.asarray([1, 2, 1, 1, 1, 1], np.float32)
  once = cluster(x, np.ones(6, bool), seeds, weights=weights)
  x = np.concatenate([x, x[1:2]])
  twice = cluster(x, np.ones(7, bool), seeds)
  np.testing.assert_allclose(once[0], twice[0], atol=1e-6)
  np.testing.assert_allclose(once[2], twice[2])


def test_the_gradient_is_that_of_the_last_means(case):
  x, mask, seeds, weights = case
  labels, sizes = cluster(x, mask, seeds, weights=weights)[1:]
  gradient = jax.jit(
    jax.grad(lambda x: cluster(x, mask, seeds, weights=weights)[0].sum())
  )(x)
  expected = np.zeros((3, 12))
  for b, i in zip(*np.nonzero(mask), strict=True):
    expected[b, i] = weights[b, i] / sizes[b, labels[b, i]]
  expected = np.broadcast_to(expected[..., None], gradient.shape)
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_no_iterations_are_refused(case):
  with pytest.raises(ValueError, match="at least 1, got 0"):
    kmeans(*case[:3], iterations=0)
