import jax
import numpy as np
import pytest

from trajvit.ops.clustering import density_peaks, kmedoids, peak_scores
from trajvit.ops.distances import euclidean_distances, squared_distances

peaks = jax.jit(density_peaks, static_argnames=("num_clusters", "neighbors"))
medoids = jax.jit(kmedoids, static_argnames="num_clusters")
scores = jax.jit(peak_scores, static_argnames="neighbors")


def distances_of(x, mask):
  """A dictionary of the Euclidean distances of real tokens."""
  real = np.flatnonzero(mask)
  x = x.astype(np.float64)
  return {(i, j): np.linalg.norm(x[i] - x[j]) for i in real for j in real}


def join(distances, real, centers):
  """The nearest centre of each token, itself for a centre."""
  labels = {}
  for i in real:
    labels[i] = min(range(len(centers)), key=lambda k: distances[i, centers[k]])
    if i in centers:
      labels[i] = centers.index(i)
  return labels


def slow_peaks(x, mask, num_clusters, neighbors):
  real = np.flatnonzero(mask)
  distances = distances_of(x / np.sqrt(x.shape[1]), mask)
  density, score = {}, {}
  for i in real:
    near = sorted(distances[i, j] for j in real)[:neighbors]
    density[i] = np.exp(-np.square(near).mean())
  for i in real:
    denser = [j for j in real if (-density[j], j) < (-density[i], i)]
    gaps = [distances[i, j] for j in denser] or [max(distances.values())]
    score[i] = density[i] * min(gaps)
  centers = sorted(real, key=lambda i: (-score[i], i))[:num_clusters]
  return centers, join(distances, real, centers)


def slow_medoids(x, mask, num_clusters, first, iterations):
  real = np.flatnonzero(mask)
  distances = distances_of(x, mask)
  centers = [first]
  while len(centers) < min(num_clusters, len(real)):
    rest = [i for i in real if i not in centers]
    gap = {i: min(distances[i, j] for j in centers) for i in rest}
    centers.append(max(rest, key=lambda i: (gap[i], -i)))
  for _ in range(iterations):
    labels = join(distances, real, centers)
    for k in range(len(centers)):
      members = [i for i in real if labels[i] == k]
      cost = {i: sum(distances[i, j] for j in members) for i in members}
      centers[k] = min(members, key=lambda i: (cost[i], i))
  centers = sorted(centers)
  return centers, join(distances, real, centers)


@pytest.fixture
def case(rng):
  """Clips of 12 slots: all real, some, none, two; NaN in masked ones."""
  x = rng.normal(size=(4, 12, 3)).astype(np.float32)
  mask = np.ones((4, 12), bool)
  mask[1] = rng.random(12) < 0.6
  mask[2], mask[3] = False, np.isin(np.arange(12), [3, 8])
  return np.where(mask[..., None], x, np.nan), mask


def check(clusters, mask, b, centers, labels):
  got = [np.asarray(field[b]) for field in clusters]
  expected = [labels.get(i, -1) for i in range(mask.shape[1])]
  assert got[0].tolist() == expected
  assert got[1][: len(centers)].tolist() == centers
  assert len(set(got[1].tolist())) == len(got[1])
  sizes = [expected.count(k) for k in range(len(got[1]))]
  assert got[2].tolist() == sizes


@pytest.mark.parametrize("run", [density_peaks, peaks], ids=["eager", "jit"])
def test_the_peaks_of_six_points(run):
  points = np.asarray([0.0, 1, 2, 50, 51, 90])[:, None]
  clusters = run(points, np.ones(6, bool), 3, neighbors=2)
  assert clusters.centers.tolist() == [0, 3, 1]
  assert clusters.labels.tolist() == [0, 2, 2, 1, 1, 1]
  assert clusters.sizes.tolist() == [1, 3, 2]
  assert clusters.target.tolist() == [0, 1, 1, 3, 3, 3]


def test_the_scores_of_six_points():
  points = np.asarray([0.0, 1, 2, 50, 51, 90])[:, None]
  squared = squared_distances(points)
  score = scores(squared, np.ones(6, bool), neighbors=2)
  expected = [54.588, 0.6065, 0.6065, 29.113, 0.6065, 0]
  np.testing.assert_allclose(np.exp(score), expected, rtol=1e-4)
  assert score[5] > -1000  # where the density itself is 0 in float32


def test_peaks_equal_a_loop(case):
  x, mask = case
  counts = np.asarray([4, 3, 4, 4])
  clusters = peaks(x, mask, 4, neighbors=3, counts=counts)
  for b in (0, 1, 3):
    check(clusters, mask, b, *slow_peaks(x[b], mask[b], counts[b], 3))
  check(clusters, mask, 2, [], {})


def test_no_cluster_takes_no_token(case):
  x, mask = case
  clusters = peaks(x, mask, 4, neighbors=3, counts=np.zeros(4, np.int32))
  assert (clusters.labels == -1).all() and (clusters.sizes == 0).all()


def test_coinciding_points_go_by_their_index():
  clusters = peaks(np.ones((5, 2)), np.ones(5, bool), 3)
  assert clusters.centers.tolist() == [0, 1, 2]
  assert clusters.labels.tolist() == [0, 1, 2, 0, 0]
  # A real point at the place of another one comes before masked ones.
  clusters = peaks(np.ones((5, 2)), np.arange(5) >= 2, 3)
  assert clusters.centers.tolist() == [2, 3, 4]


def start(x, mask):
  norm = np.linalg.norm(x, axis=-1)
  return np.argmax(np.where(mask, norm, -1), axis=-1)


def test_the_medoids_of_five_points():
  points = np.asarray([0.0, 1, 10, 11, 12])[:, None]
  first = start(points, np.ones(5, bool))
  distances = np.abs(points - points.T)
  clusters = medoids(distances, np.ones(5, bool), 2, first)
  assert clusters.centers.tolist() == [0, 3]
  assert clusters.labels.tolist() == [0, 0, 1, 1, 1]
  assert clusters.target.tolist() == [0, 0, 3, 3, 3]


@pytest.mark.parametrize("iterations", [1, 20])
def test_medoids_equal_a_loop(case, iterations):
  x, mask = case
  first = start(x, mask)
  distances = euclidean_distances(x)
  clusters = medoids(distances, mask, 4, first, iterations=iterations)
  for b in (0, 1, 3):
    expected = slow_medoids(x[b], mask[b], 4, first[b], iterations)
    check(clusters, mask, b, *expected)
  check(clusters, mask, 2, [], {})


def test_permuting_tokens_permutes_the_clusters(case, rng):
  x, mask = case
  order = rng.permutation(12)
  clusters = peaks(x, mask, 4, neighbors=3)
  permuted = peaks(x[:, order], mask[:, order], 4, neighbors=3)
  same = clusters.target[:, order] == order[permuted.target]
  assert (same | ~mask[:, order]).all()


@pytest.mark.parametrize("num_clusters", [0, 13])
def test_a_number_that_cannot_be_is_refused(case, num_clusters):
  x, mask = case
  with pytest.raises(ValueError, match=rf"\[1, 12\].* got {num_clusters}"):
    density_peaks(x, mask, num_clusters)
  with pytest.raises(ValueError, match=rf"\[1, 12\].* got {num_clusters}"):
    kmedoids(x, mask, num_clusters, 0)


def test_no_neighbors_are_refused():
  with pytest.raises(ValueError, match="at least 1, got 0"):
    peak_scores(np.zeros((3, 3)), np.ones(3, bool), neighbors=0)
