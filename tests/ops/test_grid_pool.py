"""Pooled grids, against a loop over windows."""

import functools

import jax
import numpy as np
import pytest

from trajvit.ops.grid_pool import halvings, largest_windows, pool_grid
from trajvit.types import Tokens

GRID, WIDTH = (4, 2, 3), 5


@functools.partial(jax.jit, static_argnums=1)
def pool(tokens, windows):
  return pool_grid(tokens, GRID, windows)


def make_tokens(rng):
  """A whole clip behind one more token, and one with gaps."""
  mask = np.ones((2, 25), bool)
  mask[1, 8:] = rng.random(17) < 0.4
  mask[1, 19:] = False
  features = rng.normal(size=(2, 25, WIDTH)).astype(np.float32)
  features[~mask] = np.nan
  size = rng.integers(1, 3, (2, 25)).astype(np.float32)
  positions = rng.random((2, 25, 3)).astype(np.float32)
  return Tokens(features, mask, positions, size)


@pytest.mark.parametrize("windows", [(2, 1, 3), (3, 2, 2)])
def test_equal_a_loop(rng, windows):
  tokens = make_tokens(rng)
  got = jax.device_get(pool(tokens, windows))

  def edges(i, n, s):
    return range(i * s // n, -(-(i + 1) * s // n))

  covered = np.zeros(GRID)
  members = []
  for at in np.ndindex(windows):
    ranges = [edges(*x) for x in zip(at, windows, GRID, strict=True)]
    members.append([np.ravel_multi_index(p, GRID) for p in product(ranges)])
    covered.reshape(-1)[members[-1]] += 1
  for b in range(2):
    for m, patches in enumerate(members):
      real = [1 + p for p in patches if tokens.mask[b, 1 + p]]
      assert got.mask[b, m] == bool(real)
      if not real:
        assert not got.features[b, m].any() and not got.size[b, m]
        continue
      for x, y in (
        (tokens.features, got.features),
        (tokens.positions, got.positions),
      ):
        np.testing.assert_allclose(y[b, m], x[b, real].mean(0), atol=1e-5)
      share = sum(tokens.size[b, i] / covered.reshape(-1)[i - 1] for i in real)
      np.testing.assert_allclose(got.size[b, m], share, rtol=1e-5)
  whole = (tokens.size * tokens.mask)[:, 1:].sum(1)
  np.testing.assert_allclose(got.size.sum(1), whole, rtol=1e-5)


def product(ranges):
  return [(t, y, x) for t in ranges[0] for y in ranges[1] for x in ranges[2]]


def test_as_many_windows_as_patches_change_nothing(rng):
  tokens = make_tokens(rng)
  got = pool(tokens, GRID)
  clean = np.where(tokens.mask[..., None], tokens.features, 0)
  np.testing.assert_array_equal(got.features, clean[:, 1:])
  np.testing.assert_array_equal(got.mask, tokens.mask[:, 1:])


def test_largest_windows():
  grid = (1, 24, 24)
  assert halvings(grid) == (24, 12, 6, 3, 1)
  # 36 tokens are pooled by 4 x 4, one token by 24 x 24.
  assert largest_windows(grid, halvings(grid), 36) == (1, 6, 6)
  assert largest_windows(grid, halvings(grid), 1) == (1, 1, 1)
  # The grid is as narrow as 2; where no side fits, frames are pooled in pairs.
  assert largest_windows((4, 2, 3), (1, 3), 24) == (4, 2, 3)
  assert largest_windows((4, 2, 3), (1, 3), 3) == (2, 1, 1)
  with pytest.raises(ValueError, match="4 windows, the fewest of a frame"):
    largest_windows((4, 2, 3), (2,), 3)
