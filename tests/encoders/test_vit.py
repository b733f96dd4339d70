import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import FILLS

from trajvit.encoders.vit import ViT
from trajvit.reducers import UniformK
from trajvit.types import Tokens


def make_tokens(rng, batch=2, count=6, width=8):
  mask = np.ones((batch, count), bool)
  mask[1, 3:] = False
  return Tokens(
    features=rng.normal(size=(batch, count, width)).astype(np.float32),
    mask=mask,
    positions=rng.random((batch, count, 3)).astype(np.float32),
    size=np.ones((batch, count), np.float32),
  )


def make(**options):
  options = dict(width=8, depth=2, num_heads=2) | options
  return ViT(rngs=nnx.Rngs(params=0), **options)


def test_registers_come_first_and_padding_stays_empty(rng, nnx_mode):
  tokens, aux = make(registers=2)(make_tokens(rng))
  assert tokens.features.shape == (2, 8, 8)
  assert tokens.protected[:, :2].all() and not tokens.protected[:, 2:].any()
  assert not np.any(tokens.features[1, 5:])
  assert aux["tokens"].mask.sum(1).tolist() == [6, 3]


@pytest.mark.parametrize("fill", FILLS)
def test_padding_is_never_read(rng, fill):
  encoder, tokens = make(depth=5, remat=True), make_tokens(rng)

  @jax.jit
  def loss(features):
    out, _ = encoder(dataclasses.replace(tokens, features=features))
    return jnp.square(out.features).sum(), out.features

  step = jax.value_and_grad(loss, has_aux=True)
  dirty = np.where(tokens.mask[..., None], tokens.features, fill)
  (_, expected), clean = step(tokens.features)
  (_, features), grads = step(dirty)
  np.testing.assert_array_equal(features, expected)
  np.testing.assert_array_equal(grads, clean)


def test_padded_equals_unpadded(rng):
  encoder, tokens = make(), make_tokens(rng)
  short = jax.tree.map(lambda x: x[1:, :3], tokens)
  expected = encoder(short)[0].features[0]
  np.testing.assert_allclose(
    encoder(tokens)[0].features[1, :4], expected, atol=1e-5
  )


def test_the_order_of_tokens_does_not_matter(rng):
  encoder, tokens = make(), make_tokens(rng)
  order = rng.permutation(6)
  shuffled = encoder(jax.tree.map(lambda x: x[:, order], tokens))[0].features
  expected = encoder(tokens)[0].features
  np.testing.assert_allclose(
    shuffled[:, 1:], expected[:, 1:][:, order], atol=1e-5
  )
  np.testing.assert_allclose(shuffled[:, 0], expected[:, 0], atol=1e-5)


def test_two_passes_are_the_pass_composed(rng):
  tokens = make_tokens(rng)
  twice = make(passes=2, final_norm=False)(tokens)[0]
  once = make(final_norm=False)
  first = once(tokens)[0]
  bare = make(final_norm=False, registers=0)
  bare.stages = once.stages
  composed = bare(dataclasses.replace(first, protected=None))[0]
  np.testing.assert_allclose(twice.features, composed.features, atol=1e-5)


def test_a_reducer_between_stages_thins_the_tokens(rng):
  encoder = make(
    depth=3, stages=(1, 2), reducers=(UniformK(k=5), UniformK(k=4))
  )
  tokens, aux = encoder(make_tokens(rng))
  assert aux["tokens"].mask.shape == (2, 5)
  assert tokens.features.shape == (2, 4, 8) and tokens.protected[:, 0].all()
  told = ["indices", "tokens_in", "tokens_out", "changed"]
  assert [list(part) for part in aux["reducers"]] == [told, told, []]


def test_errors_say_what_was_expected(rng):
  with pytest.raises(ValueError, match=r"sum to depth 2, got \(1, 2\)"):
    make(stages=(1, 2))
  with pytest.raises(ValueError, match="each of the 1 stages, .* got 3"):
    make(reducers=(None, None, None))
  with pytest.raises(ValueError, match="must be 8 wide, got 4"):
    make()(make_tokens(rng, width=4))
  with pytest.raises(ValueError, match="two passes"):
    make(stages=(1, 1), reducers=(None, UniformK(k=2)), passes=2)
