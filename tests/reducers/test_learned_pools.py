"""TokenLearner, attention pooling and the perceiver, by hand and by loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.attention_pool import AttentionPool, PerceiverPool
from trajvit.reducers.token_learner import TokenLearner
from trajvit.types import Tokens

GRID, WIDTH, COUNT = (4, 2, 3), 4, 25


@pytest.fixture
def tokens(rng):
  """A class token and patches, of which one and a whole frame are padding."""
  mask = np.ones((2, COUNT), bool)
  mask[1, 2] = mask[1, -6:] = False
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0.0, mask).astype(np.float32),
    protected=protected,
  )


def zero(layer):
  """Makes a layer put out its bias, 0."""
  layer.kernel[...] = jnp.zeros_like(layer.kernel[...])
  if layer.bias is not None:
    layer.bias[...] = jnp.zeros_like(layer.bias[...])


def build(kind, **options):
  options = dict(k=9, width=WIDTH, rngs=nnx.Rngs(params=0)) | options
  return kind(**options)


@pytest.mark.parametrize("version, scope", [("1.1", "frame"), ("1.0", "clip")])
def test_zero_logits_give_the_mean_or_half_the_sum(tokens, version, scope):
  reducer = build(TokenLearner, grid=GRID, version=version, scope=scope)
  zero(reducer.maps.outer)
  reduced, aux = jax.jit(reducer)(tokens)
  sets, each = (4, 2) if scope == "frame" else (1, 8)
  assert aux["maps"].shape == (2, sets, each, 24 // sets)
  for b in range(2):
    slots = np.arange(1, COUNT).reshape(sets, -1)
    used = 1
    for slot in slots:
      slot = slot[tokens.mask[b, slot]]
      if not len(slot):
        continue
      new = slice(used, used + each)
      total = tokens.features[b, slot].sum(0)
      expected = total / len(slot) if version == "1.1" else total / 2
      np.testing.assert_allclose(
        reduced.features[b, new], np.tile(expected, (each, 1)), atol=1e-5
      )
      np.testing.assert_allclose(reduced.size[b, new], len(slot) / each)
      mean = tokens.positions[b, slot].mean(0)
      np.testing.assert_allclose(
        reduced.positions[b, new], np.tile(mean, (each, 1)), atol=1e-5
      )
      used += each
    assert reduced.mask[b].sum() == used


def test_frames_are_mixed_by_themselves(tokens):
  """What another frame holds changes neither its maps nor its tokens."""
  reducer = build(TokenLearner, grid=GRID, version="1.0")
  changed = tokens.features.copy()
  changed[:, 7:13] += 1
  run = jax.jit(reducer)
  there = run(tokens)[0].features
  here = run(
    Tokens(
      changed,
      tokens.mask,
      tokens.positions,
      tokens.size,
      None,
      tokens.protected,
    )
  )[0].features
  same = np.isclose(here, there, atol=1e-6).all(-1)[0]
  assert same.tolist() == [True] * 3 + [False] * 2 + [True] * 4


def slow_attention(layer, queries, keys, x, mask):
  """One clip; what queries read, and their mean shares."""

  def through(linear, x):
    return x if linear is None else np.asarray(linear(x))

  heads = layer.num_heads
  query, key = through(layer.query, queries), through(layer.key, keys)
  value = through(layer.value, x)
  read, shares = [], []
  for q, k, v in zip(
    *(np.split(a, heads, -1) for a in (query, key, value)), strict=True
  ):
    weight = np.exp(q @ k.T / np.sqrt(q.shape[1])) * mask
    weight /= weight.sum(1, keepdims=True)
    read.append(weight @ v)
    shares.append(weight)
  return through(layer.out, np.concatenate(read, -1)), np.mean(shares, 0)


@pytest.mark.parametrize("kind", ["linear", "projected", "perceiver"])
def test_pools_equal_a_loop(tokens, kind):
  make = {
    "linear": functools.partial(AttentionPool, linear_value=True),
    "projected": AttentionPool,
    "perceiver": functools.partial(PerceiverPool, depth=2),
  }[kind]
  reducer = build(make, num_heads=2)
  reducer.latents[...] *= 50
  reduced, _ = jax.jit(reducer)(tokens)
  free = tokens.mask & ~tokens.protected
  for b in range(2):
    x, latents = tokens.features[b], np.asarray(reducer.latents[...])[:8]
    normed = np.asarray(reducer.norm(x))
    if kind == "perceiver":
      for layer in reducer.layers:
        queries = np.asarray(layer.norm_read(latents))
        read, shares = slow_attention(
          layer.read, queries, normed, normed, free[b]
        )
        latents = latents + read
        latents = latents + np.asarray(layer.mlp(layer.norm_mlp(latents)))
      expected = latents
    else:
      value = x if kind == "linear" else normed
      expected, shares = slow_attention(
        reducer.read, latents, normed, value, free[b]
      )
    np.testing.assert_allclose(reduced.features[b, 1:], expected, atol=1e-4)
    np.testing.assert_allclose(
      reduced.positions[b, 1:], shares @ tokens.positions[b], atol=1e-4
    )
    np.testing.assert_allclose(reduced.size[b].sum(), free[b].sum(), rtol=1e-5)


def test_there_must_be_a_token_a_frame(tokens):
  with pytest.raises(ValueError, match="k must be at least 5, .* got 4"):
    build(TokenLearner, k=4, grid=GRID)(tokens)
