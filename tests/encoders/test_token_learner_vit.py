import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders import ENCODERS
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.token_fuser import TokenFuser
from trajvit.models.build_tower import with_reducers
from trajvit.ops.attention import AttentionMask
from trajvit.ops.tokens import prepend
from trajvit.types import Tokens

GRID, WIDTH = (3, 2, 2), 8


@pytest.fixture
def tokens(rng):
  mask = np.ones((2, 12), bool)
  mask[1, 1] = mask[1, 8:] = False  # a patch and a frame
  return Tokens(
    features=rng.normal(size=(2, 12, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, 12, 3)).astype(np.float32),
    size=mask.astype(np.float32),
  )


def make():
  spec = dict(name="token_learner_vit", grid=GRID, frame_tokens=2, hidden=4)
  spec |= dict(width=WIDTH, depth=3, num_heads=2, mlp_dim=8, loc=1)
  return ENCODERS.build(with_reducers(spec), rngs=nnx.Rngs(params=0))


def test_at_first_later_blocks_reach_the_registers_alone(tokens):
  encoder = make()
  out, aux = encoder(tokens)
  assert aux["tokens"].features.shape == (2, 12, WIDTH)
  entered = prepend(encoder.registers[...], tokens)
  context = Context(mask=AttentionMask(keys=entered.mask))
  x, _ = encoder.blocks(entered.features, context)
  expected = np.where(entered.mask[..., None], encoder.norm(x), 0)
  np.testing.assert_allclose(out.features[:, 1:], expected[:, 1:], atol=1e-5)
  assert np.abs(out.features[:, 0] - expected[:, 0]).max() > 1e-2


def test_all_of_it_learns_and_padding_is_not_read(tokens):
  encoder = make()
  scale = encoder.fused.layers.fuser.norm_mixed.scale
  scale[...] = jnp.ones_like(scale[...])
  graphdef, state = nnx.split(encoder)

  @jax.jit
  def step(state, features):
    read = dataclasses.replace(tokens, features=features)
    out, _ = nnx.merge(graphdef, state)(read)
    return jnp.sin(out.features).sum(), out.features

  step = jax.value_and_grad(step, has_aux=True)
  (_, clean), gradient = step(state, tokens.features)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    name = jax.tree_util.keystr(path)
    assert np.isfinite(leaf).all(), name
    # A bias of keys has no effect on attention.
    if "key" not in name or "bias" not in name:
      assert np.any(leaf), name
  dirty = np.where(tokens.mask[..., None], tokens.features, np.nan)
  (_, features), dirty_gradient = step(state, dirty)
  np.testing.assert_array_equal(features, clean)
  for x, y in zip(
    jax.tree.leaves(gradient), jax.tree.leaves(dirty_gradient), strict=True
  ):
    np.testing.assert_array_equal(x, y)


def test_a_fuser_equals_its_formula(rng):
  fuser = TokenFuser(4, 2, hidden=3, rngs=nnx.Rngs(params=0))
  y = rng.normal(size=(5, 2, 4)).astype(np.float32)
  x = rng.normal(size=(5, 6, 4)).astype(np.float32)
  assert not np.any(fuser(y, x))
  fuser.norm_mixed.scale[...] = jnp.ones(4)

  def norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

  out = fuser(y, x)
  for i in range(5):
    mixed = norm(fuser.across.kernel[...].T @ norm(y[i]))
    hidden = jax.nn.gelu(norm(x[i]) @ fuser.inner.kernel[...])
    weight = 1 / (1 + np.exp(-hidden @ fuser.outer.kernel[...]))
    np.testing.assert_allclose(out[i], weight @ mixed, atol=1e-4)


def test_it_needs_the_patches_of_its_grid(tokens):
  short = jax.tree.map(lambda x: x[:, :8], tokens)
  with pytest.raises(
    ValueError, match=r"patches of \(3, 2, 2\).* got \(8, 8\)"
  ):
    make()(short)
