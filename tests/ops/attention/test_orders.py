"""Orders: permutations of grids on the host, and the same inside jit."""

import jax
import numpy as np
import pattern_loops
import pytest

from trajvit.ops.attention.grids.orders import (
  ORDERS,
  Hilbert,
  Morton,
  Phase,
  Raster,
  Tile,
  TimeMajor,
)

ALL = [
  Raster(),
  TimeMajor(),
  Tile(2, 3, 4),
  Phase(2, 3, 2),
  Morton(),
  Hilbert(),
]
every_order = pytest.mark.parametrize("order", ALL, ids=str)


def places(order, grid):
  """[N, 3] coordinates (t, y, x) in the sequence they are stored."""
  return np.stack(np.unravel_index(order.permutation(grid), grid), axis=1)


@every_order
@pytest.mark.parametrize("grid", [(5, 6, 7), (1, 1, 1), (1, 9, 2)])
def test_every_token_is_stored_once(order, grid):
  permutation = order.permutation(grid)
  assert permutation.dtype == np.int32
  np.testing.assert_array_equal(np.sort(permutation), np.arange(np.prod(grid)))


@every_order
def test_tokens_known_on_the_device_are_sorted_like_a_grid(order):
  """Two clips, shuffled with their registers and padding over a row."""
  grids = (3, 5, 6), (4, 6, 5)
  clips = [
    pattern_loops.clip(grid, registers=2, segment=segment)
    for segment, grid in enumerate(grids)
  ]
  padding = np.zeros((7, 6), int)
  padding[:, 0] = -1
  row = np.concatenate([*clips, padding])
  shuffled = np.random.default_rng(0).permutation(row)
  stored = pattern_loops.coordinates(shuffled[None])
  place = np.asarray(jax.jit(order.sort)(stored))
  assert place.dtype == np.int32
  got = shuffled[place[0]]
  expected = []
  for grid, tokens in zip(grids, clips, strict=True):
    expected += [tokens[:2], tokens[2:][order.permutation(grid)]]
  np.testing.assert_array_equal(got, np.concatenate([*expected, padding]))


def test_tokens_the_order_cannot_tell_apart_stay_in_sequence():
  tokens = np.zeros((1, 9, 6), int)
  tokens[0, :, 5] = np.arange(9)
  place = Raster().sort(pattern_loops.coordinates(tokens))
  np.testing.assert_array_equal(place, [np.arange(9)])


def test_raster_is_the_identity_and_time_major_a_transpose():
  grid = (3, 4, 5)
  index = np.arange(60).reshape(grid)
  np.testing.assert_array_equal(Raster().permutation(grid), np.arange(60))
  expected = index.transpose(1, 2, 0).ravel()
  np.testing.assert_array_equal(TimeMajor().permutation(grid), expected)


def test_tiles_are_stored_one_after_the_other():
  stored = places(Tile(2, 3, 4), (4, 6, 8)).reshape(8, 24, 3)
  for tile in stored:
    first = tile[0]
    assert np.all(first % (2, 3, 4) == 0)
    inside = np.indices((2, 3, 4)).reshape(3, -1).T
    np.testing.assert_array_equal(tile, first + inside)


def test_phases_are_stored_one_after_the_other():
  stored = places(Phase(2, 3, 2), (4, 6, 8)).reshape(12, 16, 3)
  for phase in stored:
    assert len(np.unique(phase % (2, 3, 2), axis=0)) == 1


def test_morton_interleaves_bits():
  for code, place in enumerate(places(Morton(), (8, 8, 8))):
    bits = f"{code:09b}"
    expected = [int(bits[axis::3], 2) for axis in range(3)]
    assert place.tolist() == expected


@pytest.mark.parametrize("side", [2, 4, 16])
def test_hilbert_moves_one_step_at_a_time(side):
  stored = places(Hilbert(), (side,) * 3)
  np.testing.assert_array_equal(np.abs(np.diff(stored, axis=0)).sum(1), 1)


@pytest.mark.parametrize("curve", [Hilbert(), Morton()], ids=str)
def test_curves_store_aligned_cubes_together(curve):
  stored = places(curve, (8, 8, 8)).reshape(8, 64, 3)
  assert all(len(np.unique(cube // 4, axis=0)) == 1 for cube in stored)


def test_a_config_names_orders():
  assert ORDERS.build(dict(name="tile", t=2, y=4, x=4)) == Tile(2, 4, 4)
  assert {type(order) for order in ALL} == set(ORDERS.values())


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: Tile(0, 4, 4), r"Tile needs positive t, y and x, got \(0, 4, 4\)"),
    (lambda: Phase(1, -1, 4), "Phase needs positive"),
    (lambda: Raster().permutation((4, 4)), r"a grid is \(T, h, w\)"),
    (lambda: Raster().permutation((4, 0, 4)), "all positive"),
    (lambda: Hilbert().permutation((1, 1, 1025)), "up to 1024 an axis"),
  ],
)
def test_what_makes_no_sense_is_an_error(make, message):
  with pytest.raises(ValueError, match=message):
    make()
