import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops import pooling
from trajvit.ops.pooling import pool_by_track


def slow(features, tracks, num_tracks):
  """The definition: upsample, then average over every mask."""
  scale = tracks.shape[2] // features.shape[2]
  fine = np.kron(features, np.ones((1, 1, scale, scale, 1)))
  shape = (*features.shape[:2], num_tracks)
  mean, area = np.zeros((*shape, features.shape[-1])), np.zeros(shape)
  for b, t, m in np.ndindex(shape):
    owned = tracks[b, t] == m
    area[b, t, m] = owned.sum() / scale**2
    if owned.any():
      mean[b, t, m] = fine[b, t][owned].mean(0)
  return mean, area


@pytest.fixture(params=[512, 7], ids=["one chunk", "many chunks"])
def chunk(request, monkeypatch):
  monkeypatch.setattr(pooling, "CHUNK", request.param)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_equals_a_loop_over_masks(rng, chunk, scale):
  features = rng.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
  tracks = rng.integers(-1, 4, (2, 3, 4 * scale, 5 * scale))
  tracks[0, 0][tracks[0, 0] == 2] = 1  # a track that is absent in one frame
  mean, area = pool_by_track(features, tracks, 5)
  expected_mean, expected_area = slow(features, tracks, 5)
  np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
  np.testing.assert_allclose(area, expected_area, atol=1e-6)


def test_gradient_equals_that_of_a_product_with_all_masks(rng, chunk):
  features = rng.normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
  tracks = rng.integers(-1, 3, (2, 2, 8, 8))
  weight = rng.normal(size=(2, 2, 3, 3)).astype(np.float32)

  def with_masks(features):
    fine = jnp.repeat(jnp.repeat(features, 2, axis=2), 2, axis=3)
    hot = jax.nn.one_hot(tracks, 3)
    total = jnp.einsum("bthwm,bthwd->btmd", hot, fine)
    return total / jnp.maximum(hot.sum((2, 3)), 1)[..., None]

  def ours(features):
    return pool_by_track(features, tracks, 3)[0]

  got, expected = (
    jax.grad(lambda x, f=f: (f(x) * weight).sum())(features)
    for f in (ours, with_masks)
  )
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_memory_does_not_grow_with_masks(rng):
  frames, side, dim = 4, 64, 32

  def temporary_bytes(num_tracks):
    def loss(features, tracks):
      return jnp.square(pool_by_track(features, tracks, num_tracks)[0]).sum()

    features = jax.ShapeDtypeStruct((1, frames, side, side, dim), jnp.float32)
    tracks = jax.ShapeDtypeStruct((1, frames, side, side), jnp.int32)
    compiled = jax.jit(jax.grad(loss)).lower(features, tracks).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  few, many = 16, 256
  growth = temporary_bytes(many) - temporary_bytes(few)
  masks = 4 * (many - few) * frames * side * side
  # What may grow: pooled features, and the one-hot labels of one chunk.
  slots = 4 * (many - few) * frames * (dim + pooling.CHUNK)
  assert growth < 2 * slots < masks


def test_tracks_on_another_grid_are_refused():
  with pytest.raises(ValueError, match=r"\(1, 2, 4, 4\), got \(1, 2, 6, 6\)"):
    pool_by_track(np.zeros((1, 2, 4, 4, 3)), np.zeros((1, 2, 6, 6), int), 2)
