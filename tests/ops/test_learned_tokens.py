"""The one rule for positions and sizes of learned mixtures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.learned_tokens import (
  average,
  behind_protected,
  mixtures,
  unprotected,
)
from trajvit.types import Tokens


def make_tokens(rng, protected=2):
  mask = np.ones((3, 6), bool)
  mask[1, 4:] = mask[2] = False
  first = np.zeros((3, 6), bool)
  first[:, :protected] = True
  features = rng.normal(size=(3, 6, 2)).astype(np.float32)
  features[~mask] = np.nan
  size = np.where(mask & ~first, 2.0, 0.0).astype(np.float32)
  return Tokens(
    jnp.asarray(features),
    jnp.asarray(mask),
    jnp.asarray(rng.random((3, 6, 3)), jnp.float32),
    jnp.asarray(size),
    protected=jnp.asarray(first),
  )


def make_new(tokens, count=3):
  source = unprotected(tokens)
  real = source.mask.sum(1)[:, None, None]
  shares = jnp.where(source.mask[:, None], 1 / jnp.maximum(real, 1), 0.0)
  shares = jnp.broadcast_to(shares, (3, count, 6)).astype(jnp.float32)
  features = average(shares, source.features)
  return mixtures(source, features, average(shares, source.positions))


def test_sizes_add_up_and_positions_are_means(rng):
  tokens = make_tokens(rng)
  new = make_new(tokens)
  np.testing.assert_allclose(new.size.sum(1), [8, 4, 0])
  assert new.mask.tolist() == [[True] * 3] * 2 + [[False] * 3]
  for b, stop in enumerate([6, 4]):
    for name in ("features", "positions"):
      mean = getattr(tokens, name)[b, 2:stop].mean(0)
      np.testing.assert_allclose(getattr(new, name)[b, 1], mean, rtol=1e-6)
  assert not np.any(new.features[2]) and not np.any(new.positions[2])


@pytest.mark.parametrize("k, real", [(4, [4, 4, 0]), (6, [5, 5, 0])])
def test_protected_tokens_come_first(rng, k, real):
  tokens = make_tokens(rng)
  new = make_new(tokens)
  joined = jax.jit(behind_protected, static_argnums=2)(tokens, new, k)
  assert joined.features.shape == (3, k, 2)
  assert joined.mask.sum(1).tolist() == real
  assert joined.protected[:, :2].tolist() == [[True] * 2] * 2 + [[False] * 2]
  np.testing.assert_array_equal(
    joined.features[:2, :2], tokens.features[:2, :2]
  )
  rest = min(k - 2, 3)
  np.testing.assert_array_equal(
    joined.features[:, 2 : 2 + rest], new.features[:, :rest]
  )
  assert np.isfinite(joined.features).all()


def test_there_may_be_no_protected_token(rng):
  tokens = dataclasses.replace(make_tokens(rng), protected=None)
  joined = behind_protected(tokens, make_new(tokens), 3)
  assert joined.mask[:2].all() and not joined.protected.any()
