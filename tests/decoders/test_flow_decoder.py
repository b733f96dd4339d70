"""The flow decoder: its start, its guidance and what it is shown."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.decoders.flow import FlowDecoder
from trajvit.types import Tokens

WIDTH, SLOTS, CLIP = 8, 3, (4, 4, 4)


def build(**options):
  options = dict(depth=1, num_heads=2, patch=(2, 2, 2), steps=2) | options
  return FlowDecoder(
    width=WIDTH, clip_shape=CLIP, rngs=nnx.Rngs(params=0), **options
  )


@functools.cache
def sampler(**options):
  """Sampling, compiled, by a decoder with drawn parameters."""
  graphdef, state = nnx.split(drawn(build))

  @jax.jit
  def sample(state, tokens, noise, prefix):
    return nnx.merge(graphdef, state).sample(
      tokens, noise=noise, prefix=prefix, **options
    )

  return state, sample


@pytest.fixture
def tokens(rng):
  return Tokens(
    features=rng.normal(size=(2, SLOTS, WIDTH)).astype(np.float32),
    mask=np.ones((2, SLOTS), bool),
    positions=np.zeros((2, SLOTS, 3), np.float32),
    size=np.ones((2, SLOTS), np.float32),
  )


@pytest.fixture
def noise(rng):
  return rng.normal(size=(2, *CLIP, 3)).astype(np.float32)


def test_at_first_there_is_no_velocity(tokens, rng):
  frames = rng.normal(size=(2, *CLIP, 3)).astype(np.float32)
  key = jax.random.key(1)

  @jax.jit
  def run(tokens, frames):
    decoder = build(align_block=1, depth=2, null_probability=0.0)
    made, aux = decoder(tokens, frames=frames, key=key)
    noise = decoder.noise(key, 2)
    sigma = aux["sigma"][:, None, None, None, None]
    x = sigma * (noise - frames) + frames
    return made, aux, noise, x, decoder.trunk.stem(decoder.to_patches(x))

  made, aux, noise, x, stem = run(tokens, frames)
  assert not np.any(aux["predicted"]) and not np.any(aux["velocity"])
  np.testing.assert_allclose(aux["velocity_target"], noise - frames, atol=1e-6)
  sigma = np.asarray(aux["sigma"])
  assert ((sigma > 0) & (sigma < 1)).all() and sigma[0] != sigma[1]
  np.testing.assert_allclose(made, x, atol=1e-5)
  assert aux["mask"].all()
  # What comes out of a block is what went in: the embedded patches.
  table = np.asarray(aux["hidden"] - stem)
  np.testing.assert_allclose(table[0], table[1], atol=1e-5)
  assert aux["hidden"].shape == (2, 8, WIDTH)


def with_null(state, value):
  def put(path, x):
    null = "null_token" in jax.tree_util.keystr(path)
    return jnp.full_like(x, value) if null else x

  return jax.tree.map_with_path(put, state)


def test_guidance_of_one_is_none_bit_for_bit(tokens, noise):
  state, plain = sampler()
  _, guided = sampler(guidance=1.0)
  want = plain(state, tokens, noise, None)
  got = guided(with_null(state, np.nan), tokens, noise, None)
  np.testing.assert_array_equal(got, want)
  assert np.abs(want - noise).max() > 0.1


def test_guidance_is_a_mixture_of_two_velocities(tokens, noise):
  """One Euler step from the noise makes each of them visible."""
  state, sample = sampler(steps=1, guidance=3.0)
  got = sample(state, tokens, noise, None)
  decoder = drawn(build)
  mask, ones = jnp.ones((2, 8), bool), jnp.ones(2)

  @jax.jit
  def velocity(tokens):
    patches = decoder.to_patches(noise)
    return decoder.to_frames(decoder.trunk(patches, ones, tokens, mask)[0])

  given = decoder.conditioning(tokens)
  nothing = decoder.conditioning.nothing(tokens)
  with_tokens, without = velocity(given), velocity(nothing)
  want = noise - (without + 3 * (with_tokens - without))
  np.testing.assert_allclose(got, want, atol=1e-4)
  assert np.abs(with_tokens - without).max() > 1e-3
  # Training drops a clip's tokens to the same.
  dropped = decoder.conditioning(tokens, dropped=jnp.ones(2, bool))
  np.testing.assert_allclose(velocity(dropped), without, atol=1e-5)


def test_projected_guidance_without_its_parts_is_the_plain_one(tokens, noise):
  state, plain = sampler(steps=1, guidance=3.0)
  want = plain(state, tokens, noise, None)
  projected = dict(momentum=0.0, radius=0.0, parallel=1.0)
  decoder = drawn(lambda: build(projected=projected, steps=1, guidance=3.0))
  got = jax.jit(lambda t, x: decoder.sample(t, noise=x))(tokens, noise)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_known_first_frames_stay_as_they_are(tokens, noise, rng):
  state, sample = sampler()
  known = rng.normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
  got = sample(state, tokens, noise, known)
  np.testing.assert_array_equal(got[:, :2], known)
  other = sample(state, tokens, noise, known + 1)
  assert np.abs(got[:, 2:] - other[:, 2:]).max() > 1e-3
  with pytest.raises(ValueError, match="at most 4 frames, got 6"):
    sample(state, tokens, noise, np.zeros((2, 6, 4, 4, 3), np.float32))


def test_shown_frames_count_in_no_loss(tokens, rng):
  prefix = dict(lengths=(2,), probabilities=(1.0,))
  frames = rng.normal(size=(2, *CLIP, 3)).astype(np.float32)

  @jax.jit
  def run(tokens, frames):
    decoder = build(prefix=prefix, null_probability=0.0)
    return decoder(tokens, frames=frames, key=jax.random.key(0))

  made, aux = run(tokens, frames)
  np.testing.assert_array_equal(aux["mask"], [[False] * 4 + [True] * 4] * 2)
  # Without a velocity what comes out is what was looked at.
  assert np.abs(made[:, :2] - frames[:, :2]).max() < 0.1
  assert np.abs(made[:, 2:] - frames[:, 2:]).max() > 0.3


def test_noise_is_by_clip_or_by_seed():
  decoder = nnx.eval_shape(build)
  keys = jax.random.split(jax.random.key(0), 3)
  noise = decoder.noise(keys, 3)
  np.testing.assert_array_equal(decoder.noise(keys[::-1], 3), noise[::-1])
  assert np.abs(noise[0] - noise[1]).max() > 0.1
  fixed = decoder.noise(None, 2)
  np.testing.assert_array_equal(fixed[0], fixed[1])
  one = decoder.noise(jax.random.key(0), 2)
  assert np.abs(one[0] - one[1]).max() > 0.1
  with pytest.raises(ValueError, match="a typed key or 2 of them"):
    decoder.noise(keys, 2)


def test_refusals(tokens, noise):
  for options, message in (
    (dict(guidance=2.0, null_probability=0.0), "needs null_probability > 0"),
    (dict(align_block=1), r"align_block must be in \[0, 1\), got 1"),
    (dict(law="cosine"), "law must be one of"),
    (dict(null_probability=1.0), r"must be in \[0, 1\), got 1.0"),
    (dict(prefix=dict(lengths=(1,), probabilities=(1,))), "multiples of 2"),
  ):
    with pytest.raises(ValueError, match=message):
      build(**options)
  with pytest.raises(ValueError, match="needs a key with frames"):
    nnx.eval_shape(build)(tokens, frames=noise)
