"""Codes of a clip, their map, and what reads them."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.ops.position import fourier
from trajvit.ops.token_density import token_density
from trajvit.reducers.vqtoken import FREQUENCIES, VqToken
from trajvit.types import Tokens

WIDTH, COUNT, K = 8, 13, 5


def make_tokens(rng):
  """Four directions, three tokens each of any length, behind a class token."""
  hot = np.eye(WIDTH)[np.arange(COUNT - 1) % 4]
  noise = 0.05 * rng.normal(size=(2, COUNT - 1, WIDTH))
  length = rng.uniform(1, 5, (2, COUNT - 1, 1))
  patches = length * (hot + noise)
  features = np.concatenate([rng.normal(size=(2, 1, WIDTH)), patches], axis=1)
  mask = np.ones((2, COUNT), bool)
  mask[1, 9:] = False
  features[~mask] = np.nan
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=features.astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, rng.integers(1, 3, (2, COUNT))).astype(
      np.float32
    ),
    protected=protected,
  )


def test_codebook_map_and_reading(rng):
  tokens = make_tokens(rng)
  reducer = VqToken(k=K, width=WIDTH, num_heads=2, rngs=nnx.Rngs(params=0))
  reduced, aux = jax.jit(reducer)(tokens)
  codes = np.where(tokens.mask, np.r_[0, np.arange(12) % 4 + 1], -1)
  np.testing.assert_array_equal(aux["codes"], codes)
  assert reduced.mask.all() and reduced.protected[:, 1:].sum() == 0
  np.testing.assert_array_equal(reduced.features[:, 0], tokens.features[:, 0])
  where = np.asarray(fourier(tokens.positions, FREQUENCIES))
  for b in range(2):
    book, place = [], []
    for code in range(1, K):
      member = codes[b] == code
      weight = tokens.size[b, member, None] / tokens.size[b, member].sum()
      x = tokens.features[b, member]
      x = x / np.linalg.norm(x, axis=-1, keepdims=True)
      book.append((weight * x).sum(0))
      place.append((weight * where[b, member]).sum(0))
      assert reduced.size[b, code] == tokens.size[b, member].sum()
    np.testing.assert_allclose(aux["codebook"][b, 1:], book, atol=1e-5)
    query = reducer.query(np.float32(place))[None]
    keys = np.ones((1, 2 * (K - 1)), bool)
    read = reducer.layers[0](query, np.float32(book)[None], keys, False)
    np.testing.assert_allclose(
      reduced.features[b, 1:], reducer.norm(read)[0], atol=1e-4
    )


def test_the_length_of_a_token_does_not_matter(rng):
  tokens = make_tokens(rng)
  reducer = jax.jit(
    VqToken(k=K, width=WIDTH, num_heads=2, rngs=nnx.Rngs(params=0))
  )
  longer = dataclasses.replace(tokens, features=3 * tokens.features)
  got, expected = reducer(longer)[0], reducer(tokens)[0]
  np.testing.assert_allclose(
    got.features[:, 1:], expected.features[:, 1:], atol=1e-5
  )


def test_token_density():
  # The same accuracy with few tokens and with many.
  np.testing.assert_allclose(token_density(57.6, 13.08), 4.4037, atol=1e-4)
  assert token_density(57.6, 11664) < 0.005
  with pytest.raises(ValueError, match="tokens must be more than 0, got 0"):
    token_density(50, 0)
  with pytest.raises(ValueError, match="accuracy must be in"):
    token_density(101, 4)
