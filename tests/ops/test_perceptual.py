"""Distances of features against loops over cells and channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import on_host

from trajvit.ops.perceptual import gram_distance, perceptual_distance

LEAD = (2, 2)
LAYERS = [(*LEAD, 4, 3, 5), (*LEAD, 2, 2, 7)]
ALL = np.ones(LEAD, bool)


@on_host
def measure(x, y, weights, mask):
  """Both distances, and the gradients of their sums by x."""

  def total(x):
    found = (
      perceptual_distance(x, y, weights=weights, mask=mask),
      gram_distance(x, y, mask=mask),
    )
    return found[0].sum() + found[1].sum(), found

  (_, found), grads = jax.value_and_grad(total, has_aux=True)(x)
  return found, grads


@pytest.fixture
def maps(rng):
  """Two networks' worth of features, and weights of channels."""
  x, y = (
    [rng.normal(size=s).astype(np.float32) for s in LAYERS] for _ in range(2)
  )
  return x, y, [rng.random(s[-1]).astype(np.float32) for s in LAYERS]


def ones(weights):
  return [np.ones_like(w) for w in weights]


def definition(x, y, weights, at):
  """Of the frame `at`."""
  features, gram = 0, 0
  for one, other, weight in zip(x, y, weights, strict=True):
    one, other = one[at].astype(np.float64), other[at].astype(np.float64)
    rows, columns, channels = one.shape
    off, first, second = 0, 0, 0
    for cell in np.ndindex(rows, columns):
      u, v = one[cell], other[cell]
      first, second = first + np.outer(u, u), second + np.outer(v, v)
      apart = u / np.linalg.norm(u) - v / np.linalg.norm(v)
      off += (weight * apart**2).sum()
    features += off / (rows * columns)
    gram += np.square((first - second) / (rows * columns)).mean()
  return features, gram


def test_equal_loops(maps):
  x, y, weights = maps
  found, _ = measure(x, y, weights, ALL)
  for at in np.ndindex(LEAD):
    expected = definition(x, y, weights, at)
    got = [values[at] for values in found]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_without_weights_every_channel_counts_alike(maps):
  x, y, weights = maps
  plain = jax.jit(perceptual_distance)(x, y)
  (expected, _), _ = measure(x, y, ones(weights), ALL)
  np.testing.assert_allclose(plain, expected, rtol=1e-5)


def test_length_and_place_count_for_one_each(maps):
  """Length for textures, and where a feature is for the other."""
  x, y, weights = maps
  before, _ = measure(x, y, weights, ALL)
  after, _ = measure([3 * f for f in x], y, weights, ALL)
  np.testing.assert_allclose(after[0], before[0], rtol=1e-5)
  assert (after[1] > 1.5 * before[1]).all()
  moved, _ = measure([f[..., ::-1, ::-1, :] for f in x], y, weights, ALL)
  np.testing.assert_allclose(moved[1], before[1], rtol=1e-4)
  assert (np.abs(moved[0] - before[0]) > 1e-3).all()


def test_equal_features_are_at_no_distance(maps):
  x, _, weights = maps
  found, grads = measure(x, x, weights, ALL)
  assert not any(np.any(values) for values in found)
  assert not any(np.any(g) for g in grads)


def test_features_of_zeros_have_finite_gradients(maps):
  x, y, weights = maps
  x[0][0, 0] = 0
  _, grads = measure(x, y, weights, ALL)
  assert all(np.isfinite(g).all() and np.abs(g).max() < 1e6 for g in grads)


def test_gradients_are_those_of_differences(maps):
  x, y, weights = maps
  _, grads = measure(x, y, weights, ALL)
  steps = [1e-3 * np.sign(g) for g in grads]

  def total(sign):
    moved = [f + sign * s for f, s in zip(x, steps, strict=True)]
    return sum(v.sum() for v in measure(moved, y, weights, ALL)[0])

  slope = sum((g * s).sum() for g, s in zip(grads, steps, strict=True))
  np.testing.assert_allclose(slope, (total(1) - total(-1)) / 2, rtol=1e-2)


def test_masked_frames_change_nothing(maps):
  x, y, weights = maps
  mask = np.array([[True, False], [True, True]])
  before, grads = measure(x, y, weights, mask)
  for f in (*x, *y):
    f[0, 1] = np.nan
  after, same = measure(x, y, weights, mask)
  for a, b in zip((*before, *grads), (*after, *same), strict=True):
    np.testing.assert_array_equal(a, b)
    assert not a[0, 1].any() and a[0, 0].any()


def test_what_is_wrong_is_named(maps):
  x, y, weights = maps
  with pytest.raises(ValueError, match="the same layers, got 2 and 1"):
    perceptual_distance(x, y[:1])
  with pytest.raises(ValueError, match="the same layers, got 0 and 0"):
    gram_distance([], [])
  with pytest.raises(ValueError, match="each of 2 layers, got 1"):
    perceptual_distance(x, y, weights=weights[:1])
  with pytest.raises(ValueError, match=r"must be \(5,\), got \(7,\)"):
    jax.eval_shape(
      lambda x: perceptual_distance(x, x, weights=weights[::-1]),
      [jnp.asarray(f) for f in x],
    )
