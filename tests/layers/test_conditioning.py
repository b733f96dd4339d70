"""One slot does what all tokens that were left out do."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.decoders import DECODERS
from trajvit.layers.conditioning import Conditioning
from trajvit.types import Tokens

WIDTH, SLOTS = 6, 4


def some(rng, counts, slots=SLOTS):
  mask = np.arange(slots) < np.array(counts)[:, None]
  shape = (*mask.shape, WIDTH)
  return Tokens(
    features=jnp.asarray(rng.normal(size=shape), jnp.float32),
    mask=jnp.asarray(mask),
    positions=jnp.zeros((*mask.shape, 3)),
    size=jnp.where(mask, 3.0, 0.0),
  )


@functools.cache
def conditioning(**options):
  return drawn(lambda: Conditioning(WIDTH, 8, rngs=nnx.Rngs(0), **options))


def trunk(name):
  """What a decoder of that name makes of conditioned tokens, compiled."""
  spec = dict(
    name=name, num_heads=2, patch=(2, 2, 2), tail="mask", num_tokens=4
  ) | (dict(read_depth=2, depth=1) if name == "coordinate" else dict(depth=2))
  decoder = drawn(
    lambda: DECODERS.build(
      spec, width=8, clip_shape=(2, 4, 4), rngs=nnx.Rngs(params=0)
    )
  )

  @jax.jit
  def run(tokens):
    batch = tokens.mask.shape[0]
    mask = jnp.ones((batch, 4), bool)
    if name == "coordinate":
      return decoder.read(tokens)
    if name == "pixel":
      return decoder.read(tokens, mask)
    patches = jnp.sin(jnp.arange(4 * 24.0)).reshape(1, 4, 24)
    patches = jnp.broadcast_to(patches, (batch, 4, 24))
    return decoder.trunk(patches, jnp.full(batch, 0.3), tokens, mask)[0]

  return run


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_compressed_tail_equals_all_mask_tokens(rng, name):
  tokens = some(rng, range(SLOTS + 1))  # every number of real tokens
  layer = conditioning(num_tokens=SLOTS, tail="mask")
  short = layer(tokens)
  explicit = dataclasses.replace(
    short,
    features=jnp.where(
      tokens.mask[..., None], short.features[:, :SLOTS], layer.mask_token[...]
    ),
    mask=jnp.ones_like(tokens.mask),
    positions=short.positions[:, :SLOTS],
    size=jnp.ones_like(tokens.size),
  )
  run = trunk(name)
  for got, want in zip(
    jax.tree.leaves(run(short)), jax.tree.leaves(run(explicit)), strict=True
  ):
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_slots_that_are_not_there_count_as_left_out(rng):
  layer = conditioning(num_tokens=SLOTS, tail="mask")
  tokens = some(rng, [2, 1])
  whole = layer(tokens)
  cut = layer(jax.tree.map(lambda x: x[:, :2], tokens))
  np.testing.assert_array_equal(whole.size, [[1, 1, 0, 0, 2], [1, 0, 0, 0, 3]])
  np.testing.assert_array_equal(cut.size, [[1, 1, 2], [1, 0, 3]])
  np.testing.assert_array_equal(whole.mask, np.asarray(whole.size) > 0)
  full = layer(some(rng, [SLOTS]))
  assert not full.mask[0, -1]


def test_of_a_dropped_clip_only_the_null_token_is_left(rng):
  tokens = some(rng, [3, 3])
  for tail, count in (("drop", 1), ("mask", SLOTS)):
    layer = conditioning(num_tokens=SLOTS, tail=tail, null=True)
    got = layer(tokens, dropped=jnp.array([True, False]))
    np.testing.assert_array_equal(got.mask[0], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(got.size[0], [0, 0, 0, 0, count])
    np.testing.assert_array_equal(got.features[0, -1], layer.null_token[...])
    np.testing.assert_array_equal(got.mask[1], [1, 1, 1, 0, tail == "mask"])
    nothing = layer.nothing(tokens)
    np.testing.assert_array_equal(nothing.features[0], got.features[0, -1:])
    np.testing.assert_array_equal(nothing.size, [[count]] * 2)


def test_what_is_left_out_becomes_the_null_vector_of_its_place(rng):
  layer = conditioning(num_tokens=SLOTS, tail="null")
  tokens = some(rng, [3, 1])
  got = layer(tokens)
  filled = np.where(
    np.asarray(tokens.mask)[..., None],
    tokens.features,
    layer.null_vectors[...],
  )
  want = filled @ np.asarray(layer.project.kernel) + layer.project.bias[...]
  np.testing.assert_allclose(got.features, want, rtol=1e-5, atol=1e-6)
  assert got.mask.all() and (got.size == 1).all()
  cut = layer(jax.tree.map(lambda x: x[:1, :3], tokens))
  for x, y in zip(jax.tree.leaves(cut), jax.tree.leaves(got), strict=True):
    np.testing.assert_allclose(x[0], y[0], atol=1e-6)
  dropped = layer(tokens, dropped=jnp.array([True, False]))
  nothing = layer.nothing(tokens)
  np.testing.assert_array_equal(dropped.features[0], nothing.features[0])
  np.testing.assert_array_equal(dropped.features[1], got.features[1])
  assert nothing.features.shape == (2, SLOTS, 8)


def test_null_vectors_learn_where_tokens_are_missing(rng):
  """And what fills those slots has no say, not even as NaN."""
  layer = conditioning(num_tokens=SLOTS, tail="null")
  graphdef, state = nnx.split(layer)
  tokens = some(rng, [3, 2])
  dirty = jnp.where(tokens.mask[..., None], tokens.features, jnp.nan)

  @jax.grad
  def gradient(state, features):
    made = nnx.merge(graphdef, state)(
      dataclasses.replace(tokens, features=features)
    )
    return (made.features**2).sum()

  clean = gradient(state, tokens.features)
  got = gradient(state, dirty)
  for x, y in zip(jax.tree.leaves(clean), jax.tree.leaves(got), strict=True):
    np.testing.assert_array_equal(x, y)
  used = np.asarray(got["null_vectors"][...]).any(-1)
  assert used.tolist() == [False, False, True, True]


def test_a_set_has_no_positions_and_counts_its_own_slots(rng):
  layer = conditioning(tail="mask", proportional=True)
  tokens = some(rng, [2, 4])
  got = layer(tokens)
  np.testing.assert_array_equal(got.size, [[3, 3, 0, 0, 2], [3, 3, 3, 3, 0]])
  turned = layer(jax.tree.map(lambda x: x[:, ::-1], tokens))
  np.testing.assert_array_equal(
    turned.features[:, SLOTS - 1 :: -1], got.features[:, :SLOTS]
  )


def test_refusals(rng):
  layer = conditioning(num_tokens=2)
  with pytest.raises(ValueError, match="at most 2 tokens .* got 4"):
    layer(some(rng, [1]))
  with pytest.raises(ValueError, match="a null token is needed"):
    layer(some(rng, [1], slots=2), dropped=jnp.ones(1, bool))
  with pytest.raises(ValueError, match="one vector each"):
    conditioning(tail="null")
  with pytest.raises(ValueError, match="must be 6 wide, got 5"):
    layer(jax.tree.map(lambda x: x[..., :5], some(rng, [1], slots=2)))
