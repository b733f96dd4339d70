import jax
import numpy as np
import pytest

from trajvit.reducers.center_clip import CenterClip
from trajvit.types import Tokens


def make_tokens(features, mask=None, prefix=0):
  shape = features.shape[:2]
  return Tokens(
    features=features.astype(np.float32),
    mask=np.ones(shape, bool) if mask is None else mask,
    positions=np.zeros((*shape, 3), np.float32),
    size=np.ones(shape, np.float32),
    protected=np.broadcast_to(np.arange(shape[1]) < prefix, shape),
  )


def test_medoids_of_points_on_a_line():
  tokens = make_tokens(np.array([[[0], [1], [10], [11], [12]]]))
  kept, aux = run(tokens, k=2, grid=(1, 1, 5), segment_frames=1)
  assert kept.features.ravel().tolist() == [0, 11]
  assert aux["target"].tolist() == [[0, 0, 3, 3, 3]]
  options = dict(segment_frames=1, aggregate="mean")
  means, _ = run(tokens, k=2, grid=(1, 1, 5), **options)
  np.testing.assert_allclose(means.features.ravel(), [0.5, 11])
  assert means.size.tolist() == [[2, 3]]


def run(tokens, **options):
  return jax.jit(CenterClip(**options).__call__)(tokens)


def slow_medoids(x, count):
  """Farthest-first from the largest norm, then turns until nothing moves."""
  distance = np.linalg.norm(x[:, None] - x, axis=-1)
  medoids = [int(np.argmax(np.linalg.norm(x, axis=-1)))]
  while len(medoids) < min(count, len(x)):
    medoids.append(int(np.argmax(distance[medoids].min(0))))
  while True:
    labels = np.argmin(distance[medoids], axis=0)
    new = []
    for c in range(len(medoids)):
      members = np.flatnonzero(labels == c)
      cost = distance[members][:, members].sum(1)
      new.append(int(members[np.argmin(cost)]))
    if new == medoids:
      return sorted(medoids)
    medoids = new


def test_equals_a_loop(rng):
  """3 frames in segments of 2 and 1; 7 clusters are 4 and 3."""
  mask = np.ones((2, 16), bool)
  mask[1, [2, 4, 12, 13, 14, 15]] = False
  features = rng.normal(size=(2, 16, 3))
  features[~mask] = np.nan
  tokens = make_tokens(features, mask, prefix=1)
  kept, _ = run(tokens, k=8, grid=(3, 1, 5))
  for b in range(2):
    expected = [0]
    for start, stop, count in ((1, 11, 4), (11, 16, 3)):
      real = np.flatnonzero(mask[b, start:stop]) + start
      medoids = slow_medoids(features[b, real], count)
      expected += [int(real[i]) for i in medoids]
    got = np.asarray(kept.features[b])[np.asarray(kept.mask[b])]
    np.testing.assert_allclose(got, features[b, expected], rtol=1e-6)


def test_a_segment_without_a_share_is_refused(rng):
  tokens = make_tokens(rng.normal(size=(1, 13, 2)))
  with pytest.raises(ValueError, match="the 2 segments a token.* got 2"):
    run(tokens, k=2, grid=(4, 1, 3))
  with pytest.raises(ValueError, match="distance must be .* got 'l1'"):
    CenterClip(k=2, grid=(4, 1, 3), distance="l1")
  with pytest.raises(ValueError, match="num_clusters"):
    run(tokens, k=14, grid=(4, 1, 3))
