import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.mixture_of_depths import MixtureOfDepths
from trajvit.ops.attention import AttentionMask

WIDTH = 8


@pytest.fixture(scope="module")
def layer():
  def make(rngs):
    return Block(WIDTH, 2, 16, rngs=rngs)

  options = dict(capacity=0.4, registers=1, rngs=nnx.Rngs(params=0))
  return MixtureOfDepths(make, WIDTH, **options)


def make_inputs(rng):
  """A register and 6 tokens, of which 0.4 are 3; two of clip 1 are padding."""
  mask = np.ones((2, 7), bool)
  mask[1, [2, 6]] = False
  x = rng.normal(size=(2, 7, WIDTH)).astype(np.float32) * mask[..., None]
  return x, mask


def test_equals_a_loop(rng, layer):
  x, mask = make_inputs(rng)
  context = Context(mask=AttentionMask(keys=mask))

  @jax.jit
  def run(x):
    before, _ = layer.blocks[0](x, context)
    return before, layer.router(before)[..., 0], layer(x, context)

  before, logits, (got, aux) = jax.tree.map(np.asarray, run(x))
  routed = jax.jit(lambda x: layer.routed(x)[0])
  assert aux == {}
  for b in range(2):
    free = [i for i in range(1, 7) if mask[b, i]]
    best = sorted(free, key=lambda i: -logits[b, i])[:3]
    chosen = [0, *sorted(best)]
    update = routed(before[b : b + 1, chosen])[0] - before[b, chosen]
    gate = 1 / (1 + np.exp(-logits[b, chosen]))[:, None]
    expected = before[b].copy()
    expected[chosen] += gate * update
    np.testing.assert_allclose(got[b][mask[b]], expected[mask[b]], atol=1e-5)


def test_the_router_learns(rng, layer):
  x, mask = make_inputs(rng)
  context = Context(mask=AttentionMask(keys=mask))
  graph, state = nnx.split(layer)

  def loss(state):
    out = nnx.merge(graph, state)(x, context)[0]
    return jnp.square(out)[mask].sum()

  gradient = jax.jit(jax.grad(loss))(state)["router"]["kernel"][...]
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("options", [dict(every=0), dict(capacity=1.5)])
def test_refuses(options):
  with pytest.raises(ValueError, match="got 0 and|and 1.5"):
    MixtureOfDepths(None, WIDTH, rngs=nnx.Rngs(params=0), **options)


def test_packed_rows_are_refused(rng, layer):
  x, _ = make_inputs(rng)
  with pytest.raises(ValueError, match="one clip a row"):
    layer(x, Context(packed=True))
