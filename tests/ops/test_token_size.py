"""Attention in proportion to size, and means over patches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.attention import AttentionMask, attention
from trajvit.ops.token_size import log_size, mean_by_size
from trajvit.types import Tokens


def make_tokens(features, size, mask=None, protected=None):
  size = jnp.asarray(size, jnp.float32)
  mask = jnp.ones(size.shape, bool) if mask is None else jnp.asarray(mask)
  positions = jnp.zeros((*size.shape, 3))
  return Tokens(jnp.asarray(features), mask, positions, size, None, protected)


@functools.partial(jax.jit, static_argnames="proportional")
def attend(query, tokens, proportional=True):
  """Attention of [B, Nq, D] to tokens, with two heads."""

  def split(x):
    return x.reshape(*x.shape[:2], 2, -1)

  key, value = split(tokens.features), split(jnp.sin(3 * tokens.features))
  bias = log_size(tokens) if proportional else None
  return attention(
    split(query),
    key,
    value,
    mask=AttentionMask(tokens.mask),
    bias=bias,
    implementation="reference",
  )


@pytest.fixture
def features(rng):
  return rng.normal(size=(2, 5, 4)).astype(np.float32)


def test_one_key_of_size_n_is_n_equal_keys(features):
  sizes = np.array([[1, 2, 1, 3, 2], [4, 1, 1, 1, 2]])
  expanded = np.stack(
    [np.repeat(x, n, axis=0) for x, n in zip(features, sizes, strict=True)]
  )
  one = np.ones(expanded.shape[:2])
  merged = attend(features, make_tokens(features, sizes))
  members = attend(features, make_tokens(expanded, one))
  np.testing.assert_allclose(merged, members, atol=1e-6)
  plain = attend(features, make_tokens(features, sizes), proportional=False)
  assert np.abs(plain - merged).max() > 1e-2


def test_the_bias_is_the_log_and_nothing_where_nothing_is_counted():
  size = np.array([[0.0, 1.0, 8.0, 0.25, np.nan, 1e-40]], np.float32)
  mask = np.array([[True, True, True, True, False, True]])
  tokens = make_tokens(np.zeros((1, 6, 2)), size, mask)
  bias = log_size(tokens)
  assert bias.dtype == jnp.float32 and np.isfinite(bias).all()
  expected = [0, 0, np.log(8), np.log(0.25), 0]
  np.testing.assert_allclose(bias[0, :5], expected, rtol=1e-6)
  # Some devices take the last for 0, others for a very small token.
  assert min(abs(bias[0, 5]), abs(bias[0, 5] - np.log(1e-6))) < 1e-4


def test_padding_and_clips_without_tokens_are_harmless(features):
  mask = np.ones((2, 5), bool)
  mask[0, 3:], mask[1] = False, False
  size = np.where(mask, 2.0, np.nan)
  spoilt = np.where(mask[..., None], features, np.nan)

  def loss(size):
    tokens = make_tokens(spoilt, size, mask)
    query = jnp.asarray(features)
    return (attend(query, tokens) ** 2).sum() + mean_by_size(tokens).sum()

  gradient = jax.jit(jax.grad(loss))(jnp.asarray(size, jnp.float32))
  assert np.isfinite(gradient).all() and not np.any(gradient[~mask])
  assert np.any(gradient[0, :3])
  out = attend(features, make_tokens(spoilt, size, mask))
  short = make_tokens(features[:, :3], np.full((2, 3), 2.0))
  np.testing.assert_allclose(out[0], attend(features, short)[0], atol=1e-6)
  assert not np.any(out[1])


def test_the_mean_is_over_patches(features):
  sizes = np.array([[1, 2, 1, 3, 2], [4, 1, 1, 1, 2]])
  protected = jnp.zeros((2, 5), bool).at[0, 1].set(True)
  tokens = make_tokens(features, sizes, protected=protected)
  mean = mean_by_size(tokens)
  others = np.repeat(features[0, [0, 2, 3, 4]], [1, 1, 3, 2], axis=0)
  np.testing.assert_allclose(mean[0], others.mean(0), atol=1e-6)
  every = np.repeat(features[1], sizes[1], axis=0)
  np.testing.assert_allclose(mean[1], every.mean(0), atol=1e-6)
  nothing = dataclasses.replace(tokens, size=jnp.zeros((2, 5)))
  assert not np.any(mean_by_size(nothing))
