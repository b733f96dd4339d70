"""ViViT's factorised encoder: frames one by one, then all of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn, on_host

from trajvit.encoders import ENCODERS
from trajvit.layers.attention_methods.context import Context
from trajvit.ops.attention import AttentionMask
from trajvit.ops.tokens import prepend
from trajvit.types import Tokens

GRID, WIDTH = (3, 2, 2), 8


@pytest.fixture
def tokens(rng):
  mask = np.ones((2, 12), bool)
  mask[1, 1] = mask[1, 8:] = False  # a patch, and a frame
  return Tokens(
    features=rng.normal(size=(2, 12, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, 12, 3)).astype(np.float32),
    size=mask.astype(np.float32),
  )


def make(**options):
  spec = dict(name="factorized_vit", grid=GRID, width=WIDTH, depth=3)
  spec |= dict(num_heads=2, mlp_dim=8)
  return ENCODERS.build(spec | options, rngs=nnx.Rngs(params=0))


@pytest.fixture(scope="module")
def encoder():
  return drawn(make)


@pytest.fixture(scope="module")
def encode(encoder):
  return on_host(lambda tokens: encoder(tokens)[0])


def test_a_frame_is_encoded_as_if_it_were_alone(encoder, encode, tokens):
  @on_host
  def by_frame(tokens):
    cls = []
    for t in range(GRID[0]):
      frame = jax.tree.map(lambda x, t=t: x[:, 4 * t : 4 * t + 4], tokens)
      frame = prepend(encoder.cls[...], frame)
      context = Context(mask=AttentionMask(keys=frame.mask))
      x, _ = encoder.patch_blocks(frame.features, context)
      cls.append(encoder.frame_norm(x[:, 0]))
    frames = Tokens(
      features=jnp.stack(cls, 1),
      mask=tokens.mask.reshape(2, 3, 4).any(-1),
      positions=jnp.zeros((2, 3, 3)),
      size=jnp.ones((2, 3)),
    )
    frames = prepend(encoder.registers[...], frames)
    context = Context(mask=AttentionMask(keys=frames.mask))
    x, _ = encoder.frame_blocks(frames.features, context)
    return jnp.where(frames.mask[..., None], encoder.norm(x), 0)

  np.testing.assert_allclose(
    encode(tokens).features, by_frame(tokens), atol=1e-5
  )


def test_a_frame_stands_for_its_real_patches(encode, tokens):
  out = encode(tokens)
  assert out.mask.tolist() == [[True] * 4, [True] * 3 + [False]]
  assert out.size.tolist() == [[0, 4, 4, 4], [0, 3, 4, 0]]
  middle = tokens.positions[1, [0, 2, 3]].mean(0)
  np.testing.assert_allclose(out.positions[1, 1], middle, rtol=1e-5)
  assert not out.features[1, 3].any()


def test_padding_is_not_read(encode, tokens):
  dirty = np.where(tokens.mask[..., None], tokens.features, np.nan)
  dirty = dataclasses.replace(tokens, features=dirty)
  np.testing.assert_array_equal(encode(dirty).features, encode(tokens).features)


def test_it_says_what_it_cannot_be(encoder, tokens):
  with pytest.raises(ValueError, match=r"frame_depth must be in \[1, 3\)"):
    make(frame_depth=3)
  with pytest.raises(ValueError, match=r"patches of \(3, 2, 2\).* got \(8, 8"):
    encoder(jax.tree.map(lambda x: x[:, :8], tokens))
  with pytest.raises(ValueError, match="are not packed"):
    encoder(tokens, layout=object())
