"""Routing against a loop over queries, and how its centroids move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import (
  AttentionMask,
  attention,
  sequence,
  use_implementation,
)
from trajvit.ops.attention.dynamic.routing import (
  balanced_attention,
  moved_centroids,
  routed_attention,
)

LENGTH, HEADS, DIM, BLOCK = 14, 2, 3, 4


@pytest.fixture(autouse=True)
def quickly_compiled():
  """All implementations agree elsewhere."""
  with use_implementation("reference"):
    yield


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def draw(rng, batch=2, clusters=3):
  shape = 3, batch, LENGTH, HEADS, DIM
  arrays = rng.normal(size=shape).astype(np.float32)
  centroids = unit(rng.normal(size=(HEADS, clusters, DIM)))
  return arrays, centroids.astype(np.float32)


def attend_one(query, keys, values, bias):
  logits = keys @ query / np.sqrt(DIM) + bias
  weights = np.exp(logits - logits.max())
  return weights @ values / weights.sum()


def segment_rows():
  return np.stack(
    [np.repeat([0, 1, -1], [6, 5, 3]), np.repeat([0, 1, -1], [4, 10, 0])]
  )


def test_a_query_meets_the_keys_of_its_centroid_and_clip(rng):
  (query, key, value), centroids = draw(rng)
  segments = segment_rows()
  bias = rng.normal(size=segments.shape).astype(np.float32)
  coordinates = sequence(LENGTH, None, jnp.asarray(segments))
  got = jax.jit(
    lambda *x: routed_attention(*x, coordinates, bias=bias, block=BLOCK)
  )(query, key, value, centroids)
  empty = 0
  for b, i, h in np.ndindex(query.shape[:3]):
    mine = (centroids[h] @ query[b, i, h]).argmax()
    keys = [
      j
      for j in range(LENGTH)
      if segments[b, j] == segments[b, i] >= 0
      and (centroids[h] @ key[b, j, h]).argmax() == mine
    ]
    expected = np.zeros(DIM)
    if keys:
      arrays = key[b, keys, h], value[b, keys, h], bias[b, keys]
      expected = attend_one(query[b, i, h], *arrays)
    empty += not keys and segments[b, i] >= 0
    np.testing.assert_allclose(got[b, i, h], expected, atol=1e-5)
  assert empty  # some query met no key


def test_a_clip_does_not_touch_the_others_of_its_row(rng):
  arrays, centroids = draw(rng)
  other, _ = draw(rng)
  segments = segment_rows()
  keep = segments == 1
  coordinates = sequence(LENGTH, None, jnp.asarray(segments))

  @jax.jit
  def run(arrays):
    def loss(arrays):
      out = routed_attention(*arrays, centroids, coordinates, block=BLOCK)
      return jnp.where(keep[..., None, None], out, 0).sum(), out

    return jax.value_and_grad(loss, has_aux=True)(arrays)

  (_, clean), grads = run(arrays)
  dirty = np.where(keep[..., None, None], arrays, other)
  dirty = np.where((segments < 0)[..., None, None], np.nan, dirty)
  (_, moved), moved_grads = run(dirty)
  np.testing.assert_array_equal(np.asarray(moved)[keep], clean[keep])
  np.testing.assert_array_equal(grads, moved_grads)


def test_balanced_clusters_take_their_nearest_members(rng):
  (query, key, value), centroids = draw(rng)
  mask = np.arange(LENGTH) < np.array([[LENGTH], [5]])
  coordinates = sequence(LENGTH, jnp.asarray(mask))
  bias = rng.normal(size=mask.shape).astype(np.float32)
  options = dict(members=6, bias=bias, block=BLOCK)
  got = jax.jit(lambda *x: balanced_attention(*x, coordinates, **options))(
    query, key, value, centroids
  )

  def members(x, b, h, c):
    real = np.flatnonzero(mask[b])
    near = unit(x[b, real, h]) @ centroids[h, c]
    return real[np.argsort(-near, kind="stable")[:6]]

  for b, h in np.ndindex(2, HEADS):
    found = [[] for _ in range(LENGTH)]
    for c in range(centroids.shape[1]):
      keys = members(key, b, h, c)
      for i in members(query, b, h, c):
        arrays = key[b, keys, h], value[b, keys, h], bias[b, keys]
        found[i].append(attend_one(query[b, i, h], *arrays))
    for i in range(LENGTH):
      expected = np.mean(found[i], 0) if found[i] else np.zeros(DIM)
      np.testing.assert_allclose(got[b, i, h], expected, atol=1e-5)


@pytest.mark.parametrize("members", [None, LENGTH])
def test_one_cluster_is_full_attention(rng, members):
  (query, key, value), centroids = draw(rng, clusters=1)
  mask = jnp.arange(LENGTH) < np.array([[LENGTH], [5]])

  @jax.jit
  def run(*arrays):
    coordinates = sequence(LENGTH, mask)
    if members is None:
      return routed_attention(*arrays, coordinates, block=BLOCK)
    return balanced_attention(
      *arrays, coordinates, members=members, block=BLOCK
    )

  got = run(query, key, value, centroids)
  expected = attention(query, key, value, mask=AttentionMask(keys=mask))
  np.testing.assert_allclose(got[mask], expected[mask], atol=1e-5)
  assert not np.any(got[~mask])


def test_centroids_follow_the_mean_of_their_members(rng):
  (query, key, _), centroids = draw(rng, clusters=4)
  # The last centroid is nobody's nearest.
  query[..., 0], key[..., 0] = abs(query[..., 0]), abs(key[..., 0])
  centroids[:, 3] = [-1, 0, 0]
  mask = np.arange(LENGTH) < np.array([[LENGTH], [5]])
  query[~mask] = key[~mask] = np.nan
  before = centroids.copy()
  coordinates = sequence(LENGTH, jnp.asarray(mask))
  got = jax.jit(lambda *x: moved_centroids(*x, coordinates, decay=0.9))(
    centroids, query, key
  )
  np.testing.assert_array_equal(centroids, before)
  for h in range(HEADS):
    rows = unit(np.concatenate([query[:, :, h][mask], key[:, :, h][mask]]))
    nearest = (rows @ centroids[h].T).argmax(-1)
    for c in range(4):
      expected = centroids[h, c]
      if np.any(nearest == c):
        mean = rows[nearest == c].mean(0)
        expected = unit(0.9 * expected + 0.1 * mean)
      np.testing.assert_allclose(got[h, c], expected, atol=1e-5)
  np.testing.assert_array_equal(got[:, 3], centroids[:, 3])


def test_no_gradient_reaches_the_centroids(rng):
  arrays, centroids = draw(rng)

  def loss(centroids):
    coordinates = sequence(LENGTH)
    out = routed_attention(*arrays, centroids, coordinates, block=BLOCK)
    moved = moved_centroids(centroids, *arrays[:2], coordinates)
    return out.sum() + moved.sum()

  assert not np.any(jax.jit(jax.grad(loss))(centroids))
