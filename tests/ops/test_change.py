import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.change import (
  cosine_difference,
  feature_similarity,
  pixel_change,
  previous_real,
  tubelet_mask,
)

similarity = jax.jit(feature_similarity)
change = jax.jit(pixel_change, static_argnames=("tubelet", "patch"))


@pytest.fixture
def features(rng):
  """Two clips of 5 frames of 3 patches, with holes, and NaN in them."""
  x = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
  mask = np.ones((2, 5, 3), bool)
  mask[0, 2, 1] = mask[0, 0, 2] = mask[1, 4] = False
  mask[1, :, 0] = False
  return np.where(mask[..., None], x, np.nan), mask


def before(mask, b, t, *place):
  """The last real frame before t at this place, or None."""
  earlier = [u for u in range(t) if mask[(b, u, *place)]]
  return earlier[-1] if earlier else None


def test_the_last_real_slot_before_each_one(features):
  x, mask = features
  held, some = previous_real(x, mask)
  for b, t, p in np.ndindex(mask.shape):
    last = before(mask, b, t, p)
    assert some[b, t, p] == (last is not None)
    expected = np.zeros(4) if last is None else x[b, last, p]
    np.testing.assert_array_equal(held[b, t, p], expected)


@pytest.mark.parametrize("run", [feature_similarity, similarity])
def test_similarity_equals_a_loop(features, run):
  x, mask = features
  got = run(x, mask)
  for b, t, p in np.ndindex(mask.shape):
    last, expected = before(mask, b, t, p), -np.inf
    if mask[b, t, p] and last is not None:
      one, two = x[b, t, p], x[b, last, p]
      expected = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    np.testing.assert_allclose(got[b, t, p], expected, atol=1e-6)


def test_similarity_of_frames_is_that_of_a_single_patch(features):
  x, mask = features
  got = similarity(x[:, :, 1], mask[:, :, 1])
  np.testing.assert_allclose(got, similarity(x, mask)[:, :, 1], atol=1e-6)


def test_gradient_of_similarity_never_reads_padding(features):
  x, mask = features
  x[0, 3, 0] = 0  # of no direction

  def loss(x):
    s = feature_similarity(x, mask)
    return jnp.where(jnp.isfinite(s), s, 0).sum()

  gradient = np.asarray(jax.jit(jax.grad(loss))(x))
  assert np.isfinite(gradient).all() and gradient[0, 1].any()
  assert not gradient[~mask].any()


def test_change_of_pixels_equals_a_loop(rng):
  frames = rng.normal(size=(2, 8, 4, 6, 3)).astype(np.float32)
  frame_mask = np.ones((2, 8), bool)
  # A tubelet that is not there, and one whose last frame is not.
  frame_mask[1, 2:4] = frame_mask[1, 7] = False
  frames[~frame_mask] = np.nan
  got = change(frames, frame_mask, tubelet=2, patch=2)
  assert got.shape == (2, 4, 2, 3)
  clean = np.nan_to_num(frames)
  real = frame_mask.reshape(2, 4, 2).any(2)
  np.testing.assert_array_equal(tubelet_mask(frame_mask, 2), real)
  for b, t, y, x in np.ndindex(got.shape):
    last, expected = before(real, b, t), np.inf
    if not real[b, t]:
      expected = 0
    elif last is not None:
      cell = np.s_[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
      now, then = clean[b, 2 * t + 1][cell], clean[b, 2 * last][cell]
      expected = np.abs(now - then).mean()
    np.testing.assert_allclose(got[b, t, y, x], expected, rtol=1e-5)


def test_without_a_mask_all_frames_are_real(rng):
  frames = rng.normal(size=(2, 8, 4, 6, 3)).astype(np.float32)
  every = np.ones((2, 8), bool)
  np.testing.assert_array_equal(
    change(frames, tubelet=2, patch=2),
    change(frames, every, tubelet=2, patch=2),
  )


def test_cosine_difference_of_parallel_and_of_opposite():
  x = np.asarray([[3.0, 0], [0, 2], [1, 0]])
  y = np.asarray([[1.0, 0], [0, -1], [0, 5]])
  np.testing.assert_allclose(cosine_difference(x, y), [0, 2, 1], atol=1e-6)


@pytest.mark.parametrize("tubelet, patch", [(3, 2), (2, 4)])
def test_cuts_that_do_not_divide_are_refused(tubelet, patch):
  with pytest.raises(ValueError, match="8 x 4 x 6 cannot be cut"):
    pixel_change(np.zeros((1, 8, 4, 6, 3)), tubelet=tubelet, patch=patch)
