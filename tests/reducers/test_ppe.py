"""Clusters around density peaks, in several places each."""

import jax
import numpy as np
import pytest

from trajvit.ops.clustering import density_peaks
from trajvit.reducers.ppe import Ppe
from trajvit.types import Tokens


def make_tokens(features, size=None, mask=None):
  features = np.asarray(features, np.float32)
  count = features.shape[1]
  mask = np.ones(features.shape[:2], bool) if mask is None else mask
  protected = np.zeros_like(mask)
  protected[:, 0] = True
  size = np.ones(mask.shape) if size is None else size
  at = np.broadcast_to(np.arange(count)[None, :, None], (*mask.shape, 3))
  return Tokens(
    features,
    mask,
    positions=at.astype(np.float32),
    size=np.where(protected, 0, size).astype(np.float32),
    protected=protected,
  )


def test_the_heaviest_members_by_hand():
  """Weights .9 .1 .5 of one cluster of three places: members 0, 2, 1."""
  near = [[[9], [0], [0], [0], [50], [50], [90]]]
  size = [[0, 0.9, 0.1, 0.5, 1, 2, 1]]
  tokens = make_tokens(near, size)
  reduced, aux = jax.jit(Ppe(k=4, places=3, neighbors=2))(tokens)
  places = np.asarray(aux["member_positions"])[0, :, :, 0]
  # The class token, then clusters of 3 tokens, of 2, who take turns, and of 1.
  assert places.tolist() == [[0, 0, 0], [1, 3, 2], [5, 4, 5], [6, 6, 6]]
  assert aux["owner"].tolist() == [[0, 1, 1, 1, 2, 2, 3]]
  np.testing.assert_allclose(reduced.size[0], [0, 1.5, 3, 1], rtol=1e-6)
  np.testing.assert_allclose(reduced.positions[0, 2, 0], 14 / 3, rtol=1e-6)
  assert aux["overflow"].tolist() == [0]


def test_clusters_are_those_of_density_peaks(rng):
  mask = np.ones((2, 12), bool)
  mask[1, [3, 7]] = False
  features = rng.normal(size=(2, 12, 4)).astype(np.float32)
  tokens = make_tokens(features, rng.integers(1, 4, (2, 12)), mask)
  reduced, aux = jax.jit(Ppe(k=5, places=2))(tokens)
  free = mask & ~tokens.protected
  labels = jax.jit(density_peaks, static_argnums=2)(features, free, 4).labels
  owner = np.asarray(aux["owner"])
  assert (owner[~mask] == -1).all() and (owner[:, 0] == 0).all()
  for b in range(2):
    same = np.asarray(labels[b])[:, None] == np.asarray(labels[b])
    both = free[b][:, None] & free[b]
    mine = owner[b][:, None] == owner[b]
    np.testing.assert_array_equal(mine[both], same[both])
    for slot in range(1, 5):
      members = np.flatnonzero(owner[b] == slot)
      weight = tokens.size[b, members]
      mean = (weight[:, None] * features[b, members]).sum(0) / weight.sum()
      np.testing.assert_allclose(reduced.features[b, slot], mean, atol=1e-5)
      ranked = members[np.argsort(-weight, kind="stable")]
      expected = [ranked[0], ranked[1 % len(ranked)]]
      got = aux["member_positions"][b, slot, :, 0]
      assert got.tolist() == expected


def test_nothing_merges_where_every_token_fits(rng):
  tokens = make_tokens(rng.normal(size=(1, 6, 4)))
  reduced, aux = jax.jit(Ppe(k=6, places=2))(tokens)
  np.testing.assert_array_equal(reduced.features, tokens.features)
  for place in range(2):
    np.testing.assert_array_equal(
      aux["member_positions"][:, :, place], tokens.positions
    )
  with pytest.raises(ValueError, match="k must be at least 1, got 0"):
    Ppe(k=6, places=0)(tokens)
