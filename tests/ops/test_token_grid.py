import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.token_grid import (
  grid_indices,
  grid_positions,
  off_grid,
  on_grid,
  with_patches,
)
from trajvit.types import Tokens

GRID = (2, 3, 2)


def make_tokens(prefix):
  count = 12 + prefix
  features = np.arange(2 * count, dtype=np.float32).reshape(2, count, 1)
  mask = np.ones((2, count), bool)
  mask[1, -6:] = False
  features[~mask] = np.nan
  return Tokens(
    features=features,
    mask=mask,
    positions=np.zeros((2, count, 3), np.float32),
    size=np.ones((2, count), np.float32),
  )


@pytest.mark.parametrize("prefix", [0, 2])
def test_patches_lie_behind_the_prefix(prefix):
  tokens = make_tokens(prefix)
  found = on_grid(tokens, GRID)
  assert found.prefix == prefix and found.features.shape == (2, 2, 6, 1)
  assert found.features[0, 0, 0, 0] == prefix
  assert found.features[0, 1, 5, 0] == 11 + prefix
  assert found.mask[1, 0].all() and not found.mask[1, 1].any()
  assert not found.features[1, 1].any()
  back = off_grid(found.mask, prefix, fill=True)
  np.testing.assert_array_equal(back, tokens.mask)


def test_fewer_tokens_are_refused():
  with pytest.raises(ValueError, match="2 x 3 x 3 has 18 patches, got 12"):
    on_grid(make_tokens(0), (2, 3, 3))


def test_positions_are_middles_in_raster_order():
  positions = grid_positions(GRID)
  assert positions.shape == (12, 3) and positions.dtype == np.float32
  np.testing.assert_allclose(positions[0], [0.25, 1 / 6, 0.25])
  np.testing.assert_allclose(positions[1], [0.25, 1 / 6, 0.75])
  np.testing.assert_allclose(positions[-1], [0.75, 5 / 6, 0.75])
  assert jnp.all((positions > 0) & (positions < 1))


def test_indices_count_from_zero():
  assert grid_indices(GRID)[:3].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
  np.testing.assert_allclose(
    (grid_indices(GRID) + 0.5) / np.array(GRID), grid_positions(GRID), rtol=1e-6
  )


@pytest.mark.parametrize("function", [grid_indices, grid_positions])
def test_a_size_may_be_unknown_to_an_export(function):
  exported = jax.export.export(
    jax.jit(lambda x: function((x.shape[0], 3, 2))), platforms=["cpu"]
  )(jax.ShapeDtypeStruct(jax.export.symbolic_shape("t"), jnp.float32))
  found = exported.call(np.zeros(GRID[0], np.float32))
  np.testing.assert_allclose(found, function(GRID), rtol=1e-6)


def test_other_patches_take_the_place_of_the_first():
  tokens = make_tokens(2)
  tokens = dataclasses.replace(
    tokens, protected=np.broadcast_to(np.arange(14) < 2, (2, 14))
  )
  patches = jax.tree.map(lambda x: x[:, 5:8], tokens)
  joined = with_patches(tokens, 2, patches)
  assert joined.features[0, :, 0].tolist() == [0, 1, 5, 6, 7]
  assert joined.mask.sum(1).tolist() == [5, 5]
  assert joined.protected.tolist() == [[True, True, False, False, False]] * 2
  patches = dataclasses.replace(patches, mask=np.zeros((2, 3), bool))
  assert not with_patches(tokens, 2, patches).features[:, 2:].any()
