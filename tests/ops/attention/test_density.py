"""Density: against counts of a dense mask, and the numbers of known cases."""

import jax.numpy as jnp
import numpy as np
import pattern_loops
import pytest

from trajvit.ops.attention import from_classes, from_pattern, sequence
from trajvit.ops.attention.grids.density import (
  default_cases,
  density_table,
  format_table,
  measure,
)
from trajvit.ops.attention.grids.orders import Raster, Tile
from trajvit.ops.attention.grids.static import static_mask
from trajvit.ops.attention.pattern import FULL, PARTIAL, Dense
from trajvit.ops.attention.patterns import (
  Axial,
  FrameCausal,
  Grid,
  Radial,
  Registers,
  TileWindow,
  Window,
)


def test_measure_counts_pairs_and_tiles():
  tokens = pattern_loops.packed_rows()
  pattern = Window(t=1, y=1) | Registers()
  mask = from_pattern(
    pattern, pattern_loops.coordinates(tokens), block_query=8, block_key=16
  )
  allowed = pattern_loops.allowed_in_packed_rows(pattern)
  real = (tokens[..., 0] >= 0).sum(1)
  visited = np.asarray(mask.classes) != 0
  pairs = allowed.sum()
  density = measure(mask)
  assert density.token_density == pytest.approx(pairs / (real**2).sum())
  assert density.block_density == pytest.approx(visited.mean())
  assert density.tile_efficiency == pytest.approx(pairs / visited.sum() / 128)
  full = (np.asarray(mask.classes) == FULL).sum()
  assert density.full_fraction == pytest.approx(full / visited.sum())
  lists = visited.sum(-1)
  assert density.imbalance == pytest.approx(lists.max() / lists.mean())


def test_heads_count_apart_and_batches_broadcast():
  classes = jnp.array([[[[FULL, 0], [0, FULL]], [[FULL, FULL], [0, 0]]]])
  tokens = sequence(8, mask=np.arange(8) < np.array([[8], [8]]))
  mask = from_classes(
    classes, tokens, tokens, pattern=Dense(), block_query=4, block_key=4
  )
  density = measure(mask)
  assert density.token_density == density.block_density == 0.5
  assert density.tile_efficiency == density.full_fraction == 1
  assert density.imbalance == 2


def test_a_mask_that_computes_nothing_is_zero():
  tokens = sequence(8, mask=np.zeros((1, 8), bool))
  density = measure(from_pattern(Dense(), tokens, block_query=4, block_key=4))
  assert set(vars(density).values()) == {0}


def test_partial_tiles_of_a_dense_pattern_are_padding():
  tokens = sequence(6, mask=np.arange(6)[None] < 5)
  mask = from_pattern(Dense(), tokens, block_query=4, block_key=4)
  assert np.any(mask.classes == PARTIAL)
  density = measure(mask)
  assert density.token_density == 1
  assert density.tile_efficiency == 25 / 64


# Block densities at 128 that were found with another program.
@pytest.mark.parametrize(
  ("pattern", "order", "grid", "tokens", "blocks"),
  [
    (Window(2, 3, 3), Raster(), (16, 16, 16), 0.044, 0.29),
    (Window(2, 3, 3), Tile(4, 4, 8), (16, 16, 16), 0.044, 0.39),
    (Window(4, 2, 2), Raster(), (16, 16, 16), 0.040, 0.48),
    (FrameCausal(), Raster(), (16, 16, 16), 0.53, 0.53),
    (Axial(), Tile(4, 4, 8), (16, 16, 16), 0.066, 0.34),
    (Radial(8), Tile(4, 4, 8), (16, 16, 16), 0.32, 0.91),
    (Grid(1, 4, 4), Raster(), (16, 16, 16), 0.062, 1.00),
    (Grid(1, 4, 4), None, (16, 16, 16), 0.062, 0.062),
    (Window(2, 3, 3), Raster(), (16, 28, 28), 0.016, 0.14),
    (Window(t=1), Raster(), (16, 28, 28), 0.180, 0.20),
    (Grid(1, 4, 4), None, (16, 28, 28), 0.062, 0.080),
  ],
)
def test_densities_at_encoder_sizes(pattern, order, grid, tokens, blocks):
  _, mask = static_mask(pattern, grid, order=order)
  density = measure(mask)
  assert density.token_density == pytest.approx(tokens, abs=0.005)
  assert density.block_density == pytest.approx(blocks, abs=0.005)


def test_a_tile_window_in_its_order_wastes_nothing():
  pattern = TileWindow((4, 4, 4), clamped=(16, 28, 28))
  _, mask = static_mask(pattern, (16, 28, 28), block_query=64, block_key=64)
  density = measure(mask)
  assert density.block_density == pytest.approx(0.138, abs=0.0005)
  assert density.full_fraction == density.tile_efficiency == 1
  assert density.imbalance == 1


def test_a_density_is_one_line():
  _, mask = static_mask(Window(t=0), (4, 2, 4), block_query=8, block_key=8)
  assert str(measure(mask)) == (
    "tokens 0.250, blocks 0.250, tile efficiency 1.00, full 1.00, "
    "longest list 1.0x mean"
  )


def test_the_table_has_a_line_for_every_pattern_and_order():
  cases = [(Window(t=1), Raster()), (Grid(y=2), Tile(2, 2, 8))]
  grids = (4, 8, 8), (4, 4, 8)
  rows = density_table(grids, block=32, cases=cases)
  lines = format_table(rows).splitlines()
  assert len(lines) == len(rows) + 2 == 6
  assert lines[2].startswith("| 4x8x8 | Window(t=1) | Raster | 0.625 |")
  assert lines[5].startswith("| 4x4x8 | Grid(y=2) | Tile(t=2, y=2) | 0.500 |")
  for row in rows:
    _, mask = static_mask(
      row.pattern, row.grid, order=row.order, block_query=32, block_key=32
    )
    assert row.density == measure(mask)


@pytest.mark.parametrize("grid", [(16, 16, 16), (16, 28, 28), (8, 6, 6)])
def test_cases_are_distinct_and_their_tiles_divide_the_grid(grid):
  cases = default_cases(grid, 128)
  assert len(set(cases)) == len(cases)
  tiles = [p.tile for p, _ in cases if isinstance(p, TileWindow)]
  assert all(np.prod(tile) == 128 for tile in tiles)
  if grid != (8, 6, 6):
    assert not np.any(np.mod(grid, tiles[0]))
