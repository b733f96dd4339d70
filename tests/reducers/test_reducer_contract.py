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


def reduce(reducer, last, tokens, key=None):
  """What a reducer leaves; the block before it never sees what is masked."""
  clean = jnp.where(tokens.mask[..., None], tokens.features, 0)
  block = LastBlock(last, clean, tokens.mask)
  asked = {"block": block} if reducer.needs_block else {}
  return reducer(tokens, key=key, **asked)


@pytest.fixture(scope="module", params=sorted(REDUCERS))
def case(request, last):
  """A name, and its compiled reduction with the gradient of the features."""
  reducer = build(request.param)

  def run(features, tokens, key):
    tokens = dataclasses.replace(tokens, features=features)
    reduced, aux = reduce(reducer, last, tokens, key)
    losses = aux.get("losses", {}).values()
    loss = jnp.square(reduced.features).sum() + sum(losses, 0.0)
    return loss, (reduced, aux)

  step = jax.jit(jax.value_and_grad(run, has_aux=True))

  def compiled(tokens, key=None):
    (_, (reduced, aux)), gradient = step(tokens.features, tokens, key)
    return reduced, aux, gradient

  return request.param, compiled


def test_what_is_left_is_well_formed(case):
  _, compiled = case
  tokens = make_tokens()
  reduced, aux, _ = compiled(tokens)
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
  if "overflow" in aux:
    assert aux["overflow"].shape == (3,) and (aux["overflow"] >= 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_what_fills_masked_slots_is_not_read(case, training):
  _, compiled = case
  tokens, key = make_tokens(), jax.random.key(0) if training else None
  clean, _, gradient = compiled(tokens, key)
  features = np.where(tokens.mask[..., None], tokens.features, np.nan)
  dirty = dataclasses.replace(tokens, features=features)
  got, _, dirty_gradient = compiled(dirty, key)
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(clean), strict=True):
    np.testing.assert_array_equal(x, y)
  assert np.isfinite(gradient).all()
  np.testing.assert_array_equal(gradient, dirty_gradient)


def test_clips_do_not_meet(case):
  """A clip is reduced alike wherever it is in the batch."""
  name, compiled = case
  if name in DRAWN:
    pytest.skip("draws by the place in the batch")
  tokens = make_tokens()
  there = compiled(tokens)[0]
  back = compiled(jax.tree.map(lambda x: x[::-1], tokens))[0]
  for x, y in zip(jax.tree.leaves(there), jax.tree.leaves(back), strict=True):
    np.testing.assert_allclose(x, y[::-1], atol=1e-5)


@pytest.mark.slow
def test_compiled_is_eager(case, last):
  name, compiled = case
  tokens = make_tokens()
  eager, _ = reduce(build(name), last, tokens)
  for x, y in zip(
    jax.tree.leaves(eager), jax.tree.leaves(compiled(tokens)[0]), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-5)
