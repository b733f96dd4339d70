import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders.vit import ViT
from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import select
from trajvit.reducers import UniformK
from trajvit.types import Tokens


class Received(Reducer):
  """Keeps the tokens that get most attention, and tells what it read."""

  needs_block = True

  def __init__(self, k):
    self.k = k

  def __call__(self, tokens, *, block, key=None):
    kept, _ = select(tokens, block.received(), self.k)
    overflow = jnp.maximum(tokens.mask.sum(1) - self.k, 0)
    told = {"metrics": {"seen": block.received().sum()}, "overflow": overflow}
    return kept, told | {"read": block.x, "keys": block.keys()}


def make_tokens(rng):
  mask = np.ones((2, 6), bool)
  mask[1, 3:] = False
  return Tokens(
    features=rng.normal(size=(2, 6, 8)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, 6, 3)).astype(np.float32),
    size=np.ones((2, 6), np.float32),
  )


def make(reducers, **options):
  options = dict(width=8, depth=3, num_heads=2, stages=(2, 1)) | options
  return ViT(reducers=reducers, rngs=nnx.Rngs(params=0), **options)


def test_counts_are_told_for_every_reducer(rng):
  encoder = make([None, UniformK(k=4), UniformK(k=4)])
  tokens, aux = encoder(make_tokens(rng))
  none, between, output = aux["reducers"]
  assert none == {} and tokens.mask.sum(1).tolist() == [4, 4]
  assert between["tokens_in"].tolist() == [7, 4]
  assert between["tokens_out"].tolist() == [4, 4]
  assert between["changed"].tolist() == [True, False]
  assert not output["changed"].any()
  metrics = aux["metrics"]
  assert metrics["reducers/1/tokens_in"] == 5.5
  assert metrics["reducers/1/changed"] == 0.5
  assert metrics["reducers/2/tokens_out"] == 4


@pytest.mark.parametrize("packing", [None, dict(clips=2, rows=1, length=14)])
@pytest.mark.parametrize("remat", [False, True])
def test_a_reducer_sees_the_block_before_it(rng, packing, remat):
  """With layers one at a time the same input is the output of the second."""
  encoder = make([None, Received(4)], packing=packing, remat=remat)
  given = make_tokens(rng)
  tokens, aux = jax.jit(encoder)(given)
  read = aux["reducers"][1]
  assert aux["metrics"]["reducers/1/seen"] > 0
  assert aux["metrics"]["reducers/1/overflow"] == 1.5
  expected = _one_layer(encoder, given)
  np.testing.assert_allclose(read["read"], expected, atol=1e-5)
  assert tokens.features.shape == (2, 4, 8)


def _one_layer(encoder, tokens):
  """What the first block of the first stage puts out, clip by clip."""
  block = jax.jit(encoder.stages[0].first())
  rows = np.zeros((2, 7, 8), np.float32)
  for b, real in enumerate([6, 3]):
    x = jnp.concatenate([encoder.registers[...], tokens.features[b, :real]])
    rows[b, : real + 1] = block(x[None])[0][0]
  return rows


def test_a_reducer_of_the_output_sees_normed_tokens(rng):
  given = make_tokens(rng)
  tokens, _ = jax.jit(make([None, None, UniformK(k=3)]))(given)
  whole, _ = jax.jit(make([]))(given)
  np.testing.assert_allclose(tokens.features[:, 0], whole.features[:, 0])
  assert tokens.features.shape == (2, 3, 8)


def test_the_first_stage_has_no_block_before_it():
  with pytest.raises(ValueError, match="Received reads the block before it"):
    make([Received(4), None])


def test_the_block_before_needs_full_attention():
  with pytest.raises(ValueError, match="needs full attention"):
    make([None, Received(4)], attention={"name": "token_sparse", "keep": 2})


def test_the_number_of_reducers_must_fit():
  with pytest.raises(ValueError, match="each of the 2 stages.* got 4"):
    make([None] * 4)
