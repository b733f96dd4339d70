"""Tokens read frame by frame: what they are made of, and what learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from trajtok_parts import BATCH, CELLS, FRAMES, SLOTS, WIDTH, largest

from trajvit.tokenizers.trajtok import FramePool
from trajvit.tokenizers.trajtok.frame_pool import (
  soft_frame_means,
)

SHAPE = (BATCH, FRAMES, CELLS, CELLS)
REAL = np.ones((BATCH, FRAMES), bool)


@functools.cache
def frame_pool():
  return FramePool(WIDTH, 16, num_slots=SLOTS, num_heads=2, rngs=nnx.Rngs(2))


def pooled(features, logits, frame_mask):
  """((tokens, owner), gradients of features and of logits)."""
  return step(*nnx.split(frame_pool()), features, logits, frame_mask)


@functools.partial(jax.jit, static_argnums=0)
def step(graphdef, state, features, logits, frame_mask):
  def loss(features, logits):
    pool = nnx.merge(graphdef, state)
    tokens, owner = pool(features, logits, frame_mask)
    return jnp.square(tokens.features).sum(), (tokens, owner)

  grad = jax.value_and_grad(loss, (0, 1), has_aux=True)
  (_, out), grads = grad(features, logits)
  return out, grads


@pytest.fixture
def grid(rng):
  """Features, and logits by which slot 4 owns nothing."""
  features = rng.normal(size=(*SHAPE, WIDTH)).astype(np.float32)
  logits = rng.normal(size=(*SHAPE, SLOTS)).astype(np.float32)
  logits[..., 4] -= 10
  return features, logits


def test_a_slot_without_a_cell_is_a_masked_zero_with_a_finite_gradient(grid):
  (tokens, owner), grads = pooled(*grid, REAL)
  np.testing.assert_array_equal(owner, grid[1].argmax(-1))
  expected = [m != 4 for m in range(SLOTS)]
  assert tokens.mask.tolist() == [expected] * BATCH
  assert not np.any(tokens.features[:, 4]) and not np.any(tokens.size[:, 4])
  assert np.isfinite(largest(grads)).all() and min(largest(grads)) > 0


def test_permuting_slots_permutes_tokens(grid):
  features, logits = grid
  order = np.array([3, 0, 5, 1, 4, 2])
  before = pooled(features, logits, REAL)[0][0]
  after = pooled(features, logits[..., order], REAL)[0][0]
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
    np.testing.assert_allclose(b, a[:, order], atol=1e-5)


def test_a_token_reads_no_cell_of_another_slot(grid):
  features, logits = grid
  (tokens, owner), _ = pooled(features, logits, REAL)
  other = np.where((owner == 2)[..., None], features, -features)
  (changed, _), _ = pooled(other, logits, REAL)
  difference = np.abs(changed.features - tokens.features).max((0, 2))
  assert difference[2] < 1e-5 and difference[[0, 1, 3, 5]].min() > 1e-3


def test_padding_frames_change_no_token_and_no_gradient(grid):
  features, logits = grid
  real = REAL.copy()
  real[0, 1:] = real[1, 0] = False
  clean = pooled(features, logits, real)
  assert np.all((clean[0][1] == -1) == ~real[:, :, None, None])
  for fill in (1e4, np.nan):
    filled = np.where(real[:, :, None, None, None], features, fill)
    found = pooled(filled, logits, real)
    pairs = zip(jax.tree.leaves(clean), jax.tree.leaves(found), strict=True)
    for a, b in pairs:
      np.testing.assert_array_equal(a, b)


def test_soft_means_equal_a_loop(grid):
  features, logits = (x.astype(np.float64) for x in grid)
  share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  found = soft_frame_means(*grid)
  for t in range(FRAMES):
    for m in range(SLOTS):
      weight = share[0, t, :, :, m, None]
      mean = (weight * features[0, t]).sum((0, 1)) / (weight.sum() + 1e-6)
      np.testing.assert_allclose(found[0, t, m], mean, atol=1e-4)


def path(columns):
  """The token of a square of two columns that is at these, over time."""
  frames = len(columns)
  features = np.zeros((1, frames, 8, 8, WIDTH), np.float32)
  logits = np.zeros((1, frames, 8, 8, SLOTS), np.float32)
  for t, column in enumerate(columns):
    logits[:, t, 1:3, column : column + 2, 2] = 9
  tokens, _ = frame_pool()(features, logits)
  return tokens.features[0, 2]


@pytest.mark.slow
def test_where_a_slot_goes_is_seen():
  away = path([0, 1, 2, 3])
  assert np.abs(away - path([3, 2, 1, 0])).max() > 1e-2
