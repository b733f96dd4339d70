"""The coordinate decoder: patches that are drawn are those of the whole."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.decoders.coordinate import CoordinateDecoder
from trajvit.layers.patches import patchify
from trajvit.types import Tokens

CLIP, PATCH = (3, 4, 4), (1, 2, 2)  # 12 patches


def build(**options):
  options = dict(num_heads=2, read_depth=1, depth=1, patch=PATCH) | options
  return CoordinateDecoder(
    width=8, clip_shape=CLIP, rngs=nnx.Rngs(params=0), **options
  )


@pytest.fixture
def tokens(rng):
  return Tokens(
    features=rng.normal(size=(2, 3, 8)).astype(np.float32),
    mask=np.ones((2, 3), bool),
    positions=np.zeros((2, 3, 3), np.float32),
    size=np.ones((2, 3), np.float32),
  )


@functools.cache
def by_itself():
  """A decoder without attention among patches: its state, and both calls."""
  decoder = drawn(lambda: build(fraction=0.4, attend=False, planes=(2, 3, 3)))
  assert decoder.num_sampled == 5
  graphdef, state = nnx.split(decoder)

  @jax.jit
  def run(state, tokens, frames):
    decoder = nnx.merge(graphdef, state)
    key = jax.random.key(0)
    drawn_patches = decoder(tokens, frames=frames, key=key)
    return *drawn_patches, *decoder(tokens, frames=frames)

  return state, run


def test_a_patch_by_itself_is_that_of_the_whole_clip(tokens, rng):
  frames = rng.normal(size=(2, *CLIP, 3)).astype(np.float32)
  state, run = by_itself()
  made, aux, whole, measured = run(state, tokens, frames)
  assert made is None
  indices = np.asarray(aux["indices"])
  assert indices.shape == (2, 5) and (np.diff(indices) > 0).all()
  assert (indices[0] != indices[1]).any()
  patches = np.asarray(patchify(whole, PATCH)).reshape(2, 12, -1)
  np.testing.assert_array_equal(measured["predicted"], patches)
  assert measured["mask"].all()
  for i in range(2):
    got = aux["predicted"][i]
    np.testing.assert_allclose(got, patches[i, indices[i]], atol=1e-5)
  assert len(np.unique(patches[0].round(4), axis=0)) == 12


def test_a_whole_clip_is_decoded_in_sets_spread_over_it(tokens):
  """12 patches, at most 5 at a time: 0 3 6 9, 1 4 7 10 and 2 5 8 11."""
  decoder = drawn(lambda: build(fraction=0.4))

  @jax.jit
  def run(tokens, indices):
    planes = decoder.read(decoder.conditioning(tokens))
    mask = np.ones((2, 12), bool)
    one = decoder.decode(planes, indices, mask[:, :4])
    return decoder.decode_all(planes, mask), one

  indices = np.tile(np.arange(2, 12, 3, dtype=np.int32), (2, 1))
  whole, one = run(tokens, indices)
  np.testing.assert_allclose(whole[:, 2::3], one, atol=1e-5)


def test_patches_are_told_apart_by_place_alone(tokens):
  """Equal planes make equal patches."""
  state, run = by_itself()

  def without_queries(path, x):
    queries = jax.tree_util.keystr(path).startswith("['queries']")
    return np.zeros_like(x) if queries else x

  state = jax.tree.map_with_path(without_queries, state)
  _, _, whole, _ = run(state, tokens, np.zeros((2, *CLIP, 3), np.float32))
  patches = np.asarray(patchify(whole, PATCH)).reshape(2, 12, -1)
  np.testing.assert_allclose(
    patches, np.tile(patches[:, :1], (1, 12, 1)), atol=1e-5
  )


def test_refuses_a_fraction_of_nothing():
  with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], got 0"):
    build(fraction=0.0)
