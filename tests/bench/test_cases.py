import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.bench import cases
from trajvit.ops.attention import from_classes, sequence
from trajvit.ops.attention.grids.orders import Tile
from trajvit.ops.attention.pattern import EMPTY, FULL, PARTIAL, Dense
from trajvit.ops.attention.patterns import PATTERNS, TileWindow, Window

BLOCKS = dict(block_query=8, block_key=8)
GRID = (2, 4, 8)


@pytest.mark.parametrize(("density", "met"), [(0.01, 1), (0.25, 2), (1.0, 8)])
def test_random_tiles_are_as_many_in_every_row(density, met):
  mask = cases.random_tiles(64, density, seed=3, **BLOCKS).mask()
  classes = np.asarray(mask.classes)[0, 0]
  assert (np.sum(classes == FULL, axis=1) == met).all()
  assert (np.sum(classes == EMPTY, axis=1) == 8 - met).all()
  assert (np.diag(classes) == FULL).all()


def test_random_tiles_differ_between_rows_and_seeds():
  first, second = (
    np.asarray(cases.random_tiles(64, 0.25, seed=s, **BLOCKS).mask().classes)
    for s in (0, 1)
  )
  assert (first != second).any()
  assert len(np.unique(first[0, 0], axis=0)) > 4


def test_a_tile_with_padding_is_no_full_one():
  mask = cases.random_tiles(61, 1.0, seed=0, **BLOCKS).mask()
  classes = np.asarray(mask.classes)[0, 0]
  assert (classes[-1] == PARTIAL).all()
  assert (classes[:, -1] == PARTIAL).all()
  assert np.asarray(mask.dense()).all()


def test_tiles_need_not_be_square():
  case = cases.random_tiles(64, 0.5, block_query=16, block_key=8, seed=0)
  assert case.mask().classes.shape == (1, 1, 4, 8)


@pytest.mark.parametrize("density", [0, -0.1, 1.5])
def test_a_density_is_a_share(density):
  with pytest.raises(ValueError, match="density must be in"):
    cases.random_tiles(64, density, seed=0, **BLOCKS)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_pattern_that_is_only_named_has_arguments(name):
  if name in ("union", "intersection"):  # have no arguments that are numbers
    with pytest.raises(TypeError):
      cases.parse_pattern(name, GRID, 8)
  else:
    assert cases.parse_pattern(name, GRID, 8)[0]


def test_lists_made_inside_jit_allow_what_the_exact_ones_do():
  exact = cases.pattern("window@tile", GRID, **BLOCKS)
  traced = cases.pattern("window@tile", GRID, traced=True, **BLOCKS)
  assert exact.exact is not None and traced.exact is None
  assert np.array_equal(exact.mask().dense(), traced.mask().dense())


def test_a_pattern_has_arguments_and_an_order():
  rule, order = cases.parse_pattern("window:t=1,x=2@tile", GRID, 8)
  assert rule == Window(t=1, y=3, x=2)
  assert order == Tile()
  rule, order = cases.parse_pattern("tile_window:tile=2x2x4", GRID, 8)
  assert rule == TileWindow((2, 2, 4))
  assert order == rule.natural_order()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("windo", "unknown attention pattern 'windo'; known: a_shape, axial"),
    ("window@snake", "unknown token order 'snake'; known: hilbert"),
    ("window:z=1", "reads no 'z'; it takes clamped, t, x, y"),
    ("window:t=few", "t in .* must be an integer, .* got 'few'"),
  ],
)
def test_what_cannot_be_read_says_what_can(text, message):
  with pytest.raises(ValueError, match=message):
    cases.pattern(text, GRID, **BLOCKS)


def test_logits_of_shared_lists_count_for_each_that_shares_them():
  tokens = sequence(24)
  classes = np.full((1, 2, 3, 3), EMPTY)
  classes[0, 0, 0] = FULL
  classes[0, 1, 1, 1] = PARTIAL
  mask = from_classes(
    jnp.asarray(classes), tokens, tokens, pattern=Dense(), **BLOCKS
  )
  # 4 tiles; a batch of 5 shares them, 2 heads of 4 share each list.
  assert cases.count_logits(mask, 5, 4) == 4 * 5 * 2 * 64
