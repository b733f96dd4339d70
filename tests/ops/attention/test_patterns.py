"""Patterns against loops, their interval classes, and how configs name them."""

import dataclasses

import jax
import numpy as np
import pattern_loops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.ops.attention import from_pattern
from trajvit.ops.attention.block_mask import may_meet, pattern_classes
from trajvit.ops.attention.grids.orders import (
  Hilbert,
  Phase,
  Raster,
  Tile,
  TimeMajor,
)
from trajvit.ops.attention.pattern import (
  EMPTY,
  FULL,
  PARTIAL,
  Dense,
  Intersection,
  Union,
)
from trajvit.ops.attention.patterns import (
  PATTERNS,
  AShape,
  Axial,
  BlockCausal,
  FrameCausal,
  Grid,
  Power,
  Radial,
  RadialRaster,
  Registers,
  TileWindow,
  VerticalSlash,
  Window,
  build_pattern,
)
from trajvit.ops.attention.patterns.arithmetic import fill_below, quotient

every_pattern = pytest.mark.parametrize(
  "pattern", pattern_loops.PATTERNS, ids=str
)


def pairs(pattern, coordinates):
  """[B, N, N] bool by `allowed`, a column against a row."""
  columns = jax.tree.map(lambda x: x[:, :, None], coordinates)
  rows = jax.tree.map(lambda x: x[:, None, :], coordinates)
  return np.asarray(may_meet(pattern, columns, rows))


def tiles(dense, block_query, block_key):
  """[B, n, block_query, m, block_key] of [B, N, N], False in padding."""
  batch, length, _ = dense.shape
  sizes = [-(-length // b) * b for b in (block_query, block_key)]
  filled = np.zeros((batch, *sizes), bool)
  filled[:, :length, :length] = dense
  n, m = sizes[0] // block_query, sizes[1] // block_key
  return filled.reshape(batch, n, block_query, m, block_key)


def check_classes(pattern, coordinates, exact, block_query, block_key):
  """Whether classes from intervals make no pair of `exact` wrong.

  A partial tile is masked by `allowed`, so only the two others can be wrong.
  """
  classes = pattern_classes(
    pattern, coordinates, coordinates, block_query, block_key
  )
  classes = np.asarray(classes)[:, 0]
  exact = tiles(exact, block_query, block_key)
  assert not exact.any((2, 4))[classes == EMPTY].any()
  assert exact.all((2, 4))[classes == FULL].all()


@every_pattern
def test_allowed_is_the_rule_of_the_paper(pattern):
  coordinates = pattern_loops.coordinates(pattern_loops.packed_rows())
  expected = pattern_loops.allowed_in_packed_rows(pattern)
  np.testing.assert_array_equal(pairs(pattern, coordinates), expected)


@every_pattern
@pytest.mark.parametrize("order", [Raster(), Tile(2, 3, 4), Phase(2, 2, 2)])
def test_classes_from_intervals_change_no_pair(pattern, order):
  tokens = pattern_loops.packed_rows()
  place = np.asarray(order.sort(pattern_loops.coordinates(tokens)))
  stored = np.take_along_axis(tokens, place[..., None], axis=1)
  raster = pattern_loops.allowed_in_packed_rows(pattern)
  expected = np.stack([a[p][:, p] for a, p in zip(raster, place, strict=True)])
  check_classes(pattern, pattern_loops.coordinates(stored), expected, 8, 16)


@every_pattern
def test_a_block_mask_allows_what_the_pattern_does(pattern):
  coordinates = pattern_loops.coordinates(pattern_loops.packed_rows())
  mask = from_pattern(pattern, coordinates, block_query=8, block_key=16)
  expected = pattern_loops.allowed_in_packed_rows(pattern)
  np.testing.assert_array_equal(mask.dense()[:, 0], expected)


@pytest.mark.parametrize(
  ("pattern", "order"),
  [
    (Window(t=0), Raster()),
    (Window(t=1), Raster()),
    (FrameCausal(), Raster()),
    (BlockCausal(2), Raster()),
    (TileWindow((2, 2, 4)), Tile(2, 2, 4)),
    (TileWindow((1, 4, 4), clamped=(4, 8, 8)), Tile(1, 4, 4)),
    (Power(16), Raster()),
    (RadialRaster(8, 8, block=16), Raster()),
  ],
  ids=str,
)
def test_intervals_are_exact_where_tiles_are(pattern, order):
  """Patterns made for tiles need no look into them, so jit finds them too."""
  clip = pattern_loops.clip((4, 8, 8), registers=0)
  clip = clip[None, order.permutation((4, 8, 8))]
  coordinates = pattern_loops.coordinates(clip)
  exact = tiles(pairs(pattern, coordinates), 16, 16)
  expected = np.where(exact.any((2, 4)), PARTIAL, EMPTY)
  expected = np.where(exact.all((2, 4)), FULL, expected)
  classes = pattern_classes(pattern, coordinates, coordinates, 16, 16)[:, 0]
  if not isinstance(pattern, RadialRaster):
    assert PARTIAL not in expected
  np.testing.assert_array_equal(classes, expected)


small = st.integers(0, 6)
simple_patterns = st.one_of(
  st.builds(Window, t=small, y=small | st.none(), x=small | st.none()),
  st.builds(
    TileWindow, st.tuples(*[st.integers(1, 9)] * 3), t=small, y=small, x=small
  ),
  st.builds(FrameCausal, small | st.none()),
  st.builds(BlockCausal, st.integers(1, 9), small | st.none()),
  st.builds(Axial),
  st.builds(Grid, *[st.sampled_from([1, 2, 4])] * 3),
  st.builds(Registers),
  st.builds(Radial, st.integers(3, 20), st.integers(1, 3), st.booleans()),
  st.builds(
    RadialRaster,
    st.integers(4, 20),
    st.integers(4, 20),
    st.sampled_from([1, 4, 16]),
    st.sampled_from([0.25, 0.6, 1.0]),
    st.booleans(),
  ),
  st.builds(Power, st.sampled_from([1, 4, 16]), small, small),
  st.builds(AShape, small, small),
  st.builds(
    VerticalSlash,
    st.lists(st.integers(0, 200), min_size=1, max_size=4),
    st.lists(st.integers(-200, 200), max_size=4),
  ),
)
patterns = st.recursive(
  simple_patterns,
  lambda inner: (
    st.builds(Union, inner, inner) | st.builds(Intersection, inner, inner)
  ),
  max_leaves=3,
)


@settings(max_examples=25, deadline=None)
@given(patterns, st.integers(0, 2**32 - 1))
def test_any_pattern_holds_on_tokens_in_no_order(pattern, seed):
  rng = np.random.default_rng(seed)
  high = np.array([2, 40, 20, 20, 2, 400])
  # Tokens of a block share some coordinates, so that tiles of all classes come.
  blocks = rng.integers(0, high, (1, 6, 1, 6))
  tokens = rng.integers(0, high, (1, 6, 6, 6))
  tokens = np.where(rng.random((1, 6, 1, 6)) < 0.6, blocks, tokens)
  tokens = tokens.reshape(1, 36, 6)
  tokens[..., 0] -= rng.random((1, 36)) < 0.1  # some padding
  coordinates = pattern_loops.coordinates(tokens)
  expected = pattern_loops.allowed(pattern, tokens)
  np.testing.assert_array_equal(pairs(pattern, coordinates), expected)
  check_classes(pattern, coordinates, expected, 6, 6)


@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 7, 14, 100, 255, 256])
def test_quotient_is_exact_up_to_its_limit(divisor):
  x = np.arange(4096, dtype=np.int32)
  np.testing.assert_array_equal(quotient(x, divisor), x // divisor)


def test_fill_below_sets_all_lower_bits():
  numbers = [0, 1, 2, 3, 4, 5, 100, 2**30, 2**31 - 1]
  expected = [2 ** n.bit_length() - 1 for n in numbers]
  got = fill_below(np.array(numbers, np.int32))
  np.testing.assert_array_equal(got, expected)


def test_a_clamped_window_gives_every_token_equally_many_keys():
  pattern = Window(t=1, y=2, x=1, clamped=(5, 6, 7))
  clip = pattern_loops.clip((5, 6, 7), registers=0)[None]
  counts = pairs(pattern, pattern_loops.coordinates(clip)).sum(-1)
  assert np.all(counts == 3 * 5 * 3)


def test_power_attention_doubles_the_field_a_layer():
  """A token has heard of 2^n blocks after n layers, the paper's claim."""
  blocks = 64
  tokens = pattern_loops.clip((1, 1, blocks), registers=0)[None]
  coordinates = pattern_loops.coordinates(tokens)
  pattern = Power(1, window=0, sink=0) & VerticalSlash(
    diagonals=range(blocks)  # look back only, as the paper does
  )
  step = pairs(pattern, coordinates)[0]
  heard = np.eye(blocks, dtype=bool)
  for layer in range(1, 7):
    heard = heard @ step
    assert heard[-1, -(2**layer) :].all()
  assert heard[-1].all()


def test_patterns_are_equal_by_value_and_hashable():
  assert Window(t=1) | Axial() == Window(t=1) | Axial()
  again = VerticalSlash([3, 1, 1], [0]), VerticalSlash((1, 3), (0,))
  assert len({*again}) == 1
  assert len({Window(t=1), Window(t=2), Window(y=1), Dense()}) == 4


def test_natural_orders_make_the_tiles_of_a_pattern():
  assert TileWindow((2, 3, 4)).natural_order() == Tile(2, 3, 4)
  assert Grid(1, 2, 4).natural_order() == Phase(1, 2, 4)
  assert (Grid(1, 2, 4) | Registers()).natural_order() == Phase(1, 2, 4)
  assert (Grid(2) & FrameCausal()).natural_order() == Phase(2, 1, 1)
  assert Axial().natural_order() == Raster()
  assert Hilbert() != TimeMajor()


def test_a_config_names_patterns():
  spec = dict(
    name="union",
    of=[
      dict(
        name="intersection",
        of=[dict(name="window", t=2, y=3, x=3), dict(name="frame_causal")],
      ),
      dict(name="tile_window", tile=[2, 4, 4], clamped=[4, 8, 8]),
      dict(name="registers"),
    ],
  )
  tile = TileWindow((2, 4, 4), clamped=(4, 8, 8))
  window = Window(t=2, y=3, x=3) & FrameCausal()
  assert build_pattern(spec) == window | tile | Registers()


def test_every_pattern_has_a_name_and_a_line():
  for name, line in PATTERNS.describe():
    assert line.endswith("."), name
  named = {v for v in PATTERNS.values() if dataclasses.is_dataclass(v)}
  tried = {type(p) for p in pattern_loops.PATTERNS} - {Union, Intersection}
  assert named == tried


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    (dict(name="windw"), "unknown attention pattern 'windw'"),
    (dict(name="window", z=1), "reads no 'z'"),
    (dict(name="window"), "needs a reach in t, y or x"),
    (dict(name="window", t=-1), "integer t of at least 0, got -1"),
    (dict(name="window", t=1.5), "integer t of at least 0, got 1.5"),
    (dict(name="window", t=1, clamped=(4, 4)), r"clamped = \(t, y, x\)"),
    (dict(name="tile_window", tile=(4, 0, 4)), r"tile\[1\] of at least 1"),
    (dict(name="tile_window", tile=(4, 4, 257)), "tiles up to 256"),
    (dict(name="frame_causal", window=-1), "window of at least 0"),
    (dict(name="block_causal", frames=0), "frames of at least 1"),
    (dict(name="block_causal", frames=300), "up to 256 frames, got 300"),
    (dict(name="grid", y=3), "power of two as y, .* got 3"),
    (dict(name="power", block=100), "power of two as block"),
    (dict(name="radial", radius=2, minimum=3), "minimum <= radius 2, got 3"),
    (dict(name="radial_raster", height=4, width=4), "16, got 128"),
    (
      dict(name="radial_raster", height=16, width=16, decay=2.0),
      r"decay in \(0, 1\], got 2.0",
    ),
    (dict(name="a_shape", sink=-1, window=1), "sink of at least 0"),
    (dict(name="vertical_slash", columns=[-1]), "column of at least 0"),
    (dict(name="vertical_slash", diagonals=[]), "columns or diagonals"),
    (dict(name="union", of=[]), "union needs at least one pattern"),
  ],
)
def test_a_wrong_spec_is_an_error(spec, message):
  with pytest.raises(ValueError, match=message):
    build_pattern(spec)
