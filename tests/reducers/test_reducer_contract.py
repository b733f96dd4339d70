"""What holds for every reducer; a new one is tested here by its table line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.last_block import LastBlock
from trajvit.reducers import REDUCERS
from trajvit.types import Tokens

GRID, WIDTH, HEADS, K = (4, 2, 3), 8, 2, 8
COUNT = 1 + 24  # a class token and the patches
# Whose choice depends on the place of a clip in the batch, at inference too.
DRAWN = {"random_k"}


@pytest.fixture(scope="module")
def last():
  return Block(WIDTH, HEADS, 2 * WIDTH, rngs=nnx.Rngs(params=0))


def make_tokens():
  """A whole clip, one whose last frame is padding, and one without a token."""
  rng = np.random.default_rng(0)
  mask = np.ones((3, COUNT), bool)
  mask[1, -6:] = mask[2] = False
  protected = np.zeros((3, COUNT), bool)
  protected[:, 0] = True
  size = np.ones((3, COUNT), np.float32)
  size[:, 0] = 0
  return Tokens(
    features=rng.normal(size=(3, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((3, COUNT, 3)).astype(np.float32),
    size=size,
    protected=protected,
  )


def build(name):
  """A reducer with its defaults, offered what any of them may ask for."""
  return REDUCERS.build(
    {"name": name},
    k=K,
    grid=GRID,
    width=WIDTH,
    num_heads=HEADS,
    rngs=nnx.Rngs(params=0),
  )


@pytest.mark.parametrize("name", sorted(REDUCERS))
def test_contract(name, last):
  reducer, tokens = build(name), make_tokens()

  def run(features, key):
    read = dataclasses.replace(tokens, features=features)
    clean = jnp.where(tokens.mask[..., None], features, 0)
    block = LastBlock(last, clean, tokens.mask)
    asked = {"block": block} if reducer.needs_block else {}
    reduced, aux = reducer(read, key=key, **asked)
    losses = aux.get("losses", {}).values()
    loss = jnp.square(reduced.features).sum() + sum(losses, 0.0)
    return loss, (reduced, aux)

  step = jax.jit(jax.value_and_grad(run, has_aux=True))
  (_, (reduced, aux)), _ = step(tokens.features, None)
  assert reduced.features.shape[1] == reduced.mask.shape[1] < COUNT
  assert reduced.segments is None and reduced.protected is not None
  real = np.asarray(reduced.mask)
  for x in (reduced.features, reduced.positions, reduced.size):
    assert np.isfinite(x).all() and not np.asarray(x)[~real].any()
  # The class token stays what it is; what has no token keeps none.
  held = np.asarray(reduced.protected) & real
  assert held.sum(1).tolist() == [1, 1, 0]
  np.testing.assert_array_equal(
    np.asarray(reduced.features)[held], tokens.features[:2, 0]
  )
  assert real[0].sum() > 1 and not real[2].any()

  eager = run(tokens.features, None)[1][0]
  for x, y in zip(
    jax.tree.leaves(eager), jax.tree.leaves(reduced), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-5)

  # What fills masked slots is not read, in training neither.
  for key in (None, jax.random.key(0)):
    (_, (clean, _)), gradient = step(tokens.features, key)
    dirty = np.where(tokens.mask[..., None], tokens.features, np.nan)
    (_, (got, _)), dirty_gradient = step(dirty, key)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(clean), strict=True):
      np.testing.assert_array_equal(x, y)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient, dirty_gradient)

  if "overflow" in aux:
    assert aux["overflow"].shape == (3,) and (aux["overflow"] >= 0).all()


@pytest.mark.parametrize("name", sorted(set(REDUCERS) - DRAWN))
def test_clips_do_not_meet(name, last):
  """A clip is reduced alike wherever it is in the batch."""
  reducer, tokens = build(name), make_tokens()

  @jax.jit
  def run(tokens):
    clean = jnp.where(tokens.mask[..., None], tokens.features, 0)
    block = LastBlock(last, clean, tokens.mask)
    asked = {"block": block} if reducer.needs_block else {}
    return reducer(tokens, **asked)[0]

  there = run(tokens)
  back = run(jax.tree.map(lambda x: x[::-1], tokens))
  for x, y in zip(jax.tree.leaves(there), jax.tree.leaves(back), strict=True):
    np.testing.assert_allclose(x, y[::-1], atol=1e-5)
