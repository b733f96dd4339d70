"""Few tokens that look things up: LookupViT."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders import ENCODERS
from trajvit.layers.lookup import LookupBlock
from trajvit.ops.grid_pool import pool_by_position, pool_grid
from trajvit.ops.token_grid import grid_positions
from trajvit.types import Layout, PackedGroup, Tokens

GRID, WIDTH, COUNT = (2, 4, 4), 8, 32


def make_tokens(rng):
  mask = np.ones((2, COUNT), bool)
  mask[1, 16:] = False
  at = np.broadcast_to(grid_positions(GRID), (2, COUNT, 3))
  features = rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32)
  size = np.ones((2, COUNT), np.float32)
  return Tokens(features, mask, at, size)


def make(budget=None, seed=0, **options):
  return ENCODERS.build(
    {"name": "lookup_vit"},
    width=WIDTH,
    depth=2,
    num_heads=2,
    budgets=((2, 2, 2), (1, 2, 2)),
    budget=budget,
    rngs=nnx.Rngs(params=seed),
    **options,
  )


def test_windows_by_position_are_those_of_the_grid(rng):
  tokens = make_tokens(rng)
  expected = pool_grid(tokens, GRID, (2, 2, 2))
  order = rng.permutation(COUNT)  # a set has no order
  got = pool_by_position(jax.tree.map(lambda x: x[:, order], tokens), (2, 2, 2))
  for name in ("features", "mask", "positions", "size"):
    x, y = getattr(got, name), getattr(expected, name)
    np.testing.assert_allclose(x, y, atol=1e-5)


def test_block_against_loops(rng):
  block = LookupBlock(4, 1, 8, 2, rngs=nnx.Rngs(params=0))
  compressed = rng.normal(size=(1, 3, 4)).astype(np.float32)
  lookup = rng.normal(size=(1, 5, 4)).astype(np.float32)
  masks = np.array([[True, True, False]]), np.array([[True] * 4 + [False]])
  (few, many), _ = jax.jit(block)((compressed, lookup), *masks)

  source = block.norm_lookup(lookup)
  query = np.asarray(block.query(block.norm_compressed(compressed)))[0]
  key, value = (np.asarray(x(source))[0] for x in (block.key, block.value))
  weights = np.zeros((3, 5))
  for m in range(2):
    scores = [np.exp(query[m] @ key[n] / 2) for n in range(4)]
    weights[m, :4] = np.array(scores) / sum(scores)
  read = block.out(np.float32(weights @ value)[None])
  inner, _ = jax.jit(block.block)((compressed + read)[:, :2])
  np.testing.assert_allclose(few[:, :2], inner, atol=1e-5)
  told = np.asarray(block.value_back(block.norm_back(few)))[0]
  expected = lookup + block.out_back(np.float32(weights.T @ told)[None])
  expected += jax.jit(lambda x: block.mlp(block.norm_mlp(x)))(expected)
  np.testing.assert_allclose(many[:, :4], expected[:, :4], atol=1e-5)


@pytest.mark.slow
def test_one_set_of_parameters_runs_every_budget(rng):
  tokens = make_tokens(rng)
  graphdef, state = nnx.split(make())
  run = jax.jit(lambda key: nnx.merge(graphdef, state)(tokens, key=key)[0])
  seen = set()
  for seed in range(8):
    drawn = run(jax.random.key(seed))
    assert drawn.mask.shape == (2, 9) and drawn.protected[:, 0].all()
    count = int(drawn.mask[0].sum()) - 1
    if count in seen:
      continue
    seen.add(count)
    alone = make({8: (2, 2, 2), 4: (1, 2, 2)}[count], seed=1)
    nnx.update(alone, state)
    expected, aux = alone(tokens)
    # Windows of the second frame, which is padding, are masked.
    assert expected.mask.sum(1).tolist() == [1 + count, 5]
    np.testing.assert_allclose(
      drawn.features[:, : 1 + count], expected.features, atol=1e-5
    )
    assert aux["tokens"].mask.sum(1).tolist() == [32, 16]
    assert not np.any(aux["lookup"].features[1, 16:])
  assert seen == {8, 4}


def test_padding_is_never_read(rng):
  encoder, tokens = make(), make_tokens(rng)

  @jax.jit
  def loss(features):
    out, aux = encoder(dataclasses.replace(tokens, features=features))
    both = out.features.sum() + jnp.square(aux["lookup"].features).sum()
    return both, out.features

  step = jax.value_and_grad(loss, has_aux=True)
  dirty = np.where(tokens.mask[..., None], tokens.features, np.nan)
  (_, expected), clean = step(tokens.features)
  (_, features), gradient = step(dirty)
  np.testing.assert_array_equal(features, expected)
  np.testing.assert_array_equal(gradient, clean)


def test_errors(rng, nnx_mode):
  with pytest.raises(ValueError, match="budget must be one of"):
    make((4, 4, 4))
  one = np.zeros(2, np.int32)
  layout = Layout(one, one, PackedGroup(2, 1, 64))
  with pytest.raises(ValueError, match="packs no clips"):
    make()(make_tokens(rng), layout=layout)
