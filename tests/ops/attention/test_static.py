"""Static masks: exact, constant, and with a layout that loses nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pattern_loops
import pytest

from trajvit.ops.attention import from_pattern
from trajvit.ops.attention.grids import static
from trajvit.ops.attention.grids.orders import Hilbert, Raster, Tile
from trajvit.ops.attention.grids.static import (
  static_mask,
  tile_pairs,
  with_padding,
)
from trajvit.ops.attention.pattern import EMPTY, FULL, PARTIAL, Dense
from trajvit.ops.attention.patterns import (
  Axial,
  FrameCausal,
  Grid,
  Radial,
  Registers,
  TileWindow,
  Window,
)

GRID = (5, 6, 7)
SMALL = dict(block_query=16, block_key=8)


def dense_of(mask):
  return np.asarray(mask.dense())[:, 0]


def stored_loop(pattern, layout, registers):
  """[S, S] bool: what the loops allow, in the order of a layout."""
  tokens = pattern_loops.clip(GRID, registers)[None]
  allowed = pattern_loops.allowed(pattern, tokens)[0]
  both = layout.real[:, None] & layout.real
  return allowed[layout.gather][:, layout.gather] & both


@pytest.mark.parametrize("registers", [0, 3, 17])
@pytest.mark.parametrize(
  ("pattern", "order"),
  [
    (Window(t=1, y=1, x=2), None),
    (Axial(), Hilbert()),
    (Grid(1, 2, 2), None),
    (Radial(3) & FrameCausal(), Tile(2, 3, 4)),
  ],
)
def test_the_mask_is_exact(pattern, order, registers):
  layout, mask = static_mask(
    pattern, GRID, order=order, registers=registers, **SMALL
  )
  rule = pattern | Registers() if registers else pattern
  expected = stored_loop(rule, layout, registers)
  np.testing.assert_array_equal(dense_of(mask)[0], expected)

  n, m = (-(-len(expected) // b) * b for b in (16, 8))
  filled = np.zeros((n, m), bool)
  filled[: len(expected), : len(expected)] = expected
  tiles = filled.reshape(n // 16, 16, m // 8, 8)
  classes = np.where(tiles.any((1, 3)), PARTIAL, EMPTY)
  classes = np.where(tiles.all((1, 3)), FULL, classes)
  np.testing.assert_array_equal(mask.classes[0, 0], classes)
  np.testing.assert_array_equal(tile_pairs(mask)[0, 0], tiles.sum((1, 3)))


def test_chunks_of_any_length_count_the_same(monkeypatch):
  _, mask = static_mask(Window(t=1, y=1, x=1), GRID, **SMALL)
  whole = tile_pairs(mask)
  tiles = (mask.classes == PARTIAL).sum()
  step = int(tiles) // 3 + 1
  assert tiles % step  # the last chunk is not full
  monkeypatch.setattr(static, "CHUNK", step * 16 * 8)
  np.testing.assert_array_equal(tile_pairs(mask), whole)


@pytest.mark.parametrize("registers", [0, 1, 16, 17])
def test_registers_have_blocks_of_their_own(registers):
  layout, mask = static_mask(Window(t=0), GRID, registers=registers, **SMALL)
  front = -(-registers // 16) * 16
  expected = np.arange(front + 210) >= front
  expected[:registers] = True
  np.testing.assert_array_equal(layout.real, expected)
  register = np.asarray(mask.query.register)[0]
  np.testing.assert_array_equal(np.flatnonzero(register), np.arange(registers))
  assert mask.query_length == mask.key_length == front + 210


@pytest.mark.parametrize("order", [Raster(), Tile(2, 2, 4), Hilbert()])
def test_restore_undoes_store_and_padding_is_zero(rng, order):
  layout, _ = static_mask(Dense(), GRID, order=order, registers=3, **SMALL)
  tokens = rng.normal(size=(2, 213, 4)).astype(np.float32)
  stored = layout.store(tokens)
  assert not np.any(np.asarray(stored)[:, ~layout.real])
  np.testing.assert_array_equal(stored[:, :3], tokens[:, :3])
  patches = tokens[:, 3:][:, order.permutation(GRID)]
  np.testing.assert_array_equal(stored[:, 16:], patches)
  np.testing.assert_array_equal(layout.restore(stored), tokens)
  real = layout.store(np.ones((2, 213), bool))
  assert real.dtype == bool
  np.testing.assert_array_equal(real, np.stack([layout.real] * 2))


def test_gradients_of_the_layout_are_those_of_the_gathers(rng):
  layout, _ = static_mask(Dense(), GRID, order=Hilbert(), registers=3, **SMALL)
  tokens = rng.normal(size=(2, 213, 4)).astype(np.float32)
  weight = rng.normal(size=(2, 226, 4)).astype(np.float32)

  def plain_store(tokens):
    real = layout.real[None, :, None]
    return jnp.where(real, tokens[:, layout.gather], 0)

  def value(store, tokens):
    return (jnp.sin(store(tokens)) * weight).sum()

  np.testing.assert_allclose(
    jax.grad(value, argnums=1)(layout.store, tokens),
    jax.grad(value, argnums=1)(plain_store, tokens),
    rtol=1e-6,
  )
  stored = rng.normal(size=(2, 226, 4)).astype(np.float32)
  weight = weight[:, :213]
  np.testing.assert_allclose(
    jax.grad(value, argnums=1)(layout.restore, stored),
    jax.grad(value, argnums=1)(lambda x: x[:, layout.scatter], stored),
    rtol=1e-6,
  )


def test_gradients_of_the_layout_have_no_scatter():
  layout, _ = static_mask(Dense(), GRID, order=Hilbert(), **SMALL)

  def value(tokens):
    return (layout.restore(layout.store(tokens) ** 2) ** 2).sum()

  text = jax.jit(jax.grad(value)).lower(jnp.ones((1, 210, 2))).as_text()
  assert "gather" in text
  assert "scatter" not in text


def test_a_first_call_inside_jit_leaves_constants_behind():
  pattern, grid = TileWindow((2, 2, 2), t=0), (4, 4, 6)  # in no other test

  @jax.jit
  def run(tokens):
    layout, mask = static_mask(pattern, grid, registers=1, **SMALL)
    return layout.restore(layout.store(tokens)), mask.dense()

  tokens = jnp.arange(97.0)[None, :, None]
  restored, dense = run(tokens)
  layout, mask = static_mask(pattern, grid, registers=1, **SMALL)
  leaves = jax.tree.leaves(mask)
  assert all(type(leaf) is np.ndarray for leaf in leaves)
  np.testing.assert_array_equal(restored, tokens)
  np.testing.assert_array_equal(dense, mask.dense())
  again = static_mask(pattern, list(grid), registers=1, **SMALL)
  assert again[0] is layout
  assert again[1] is mask


def test_exact_classes_need_no_more_tiles_than_intervals():
  pattern, order = Window(t=1, y=1, x=1), Hilbert()
  _, exact = static_mask(pattern, GRID, order=order, **SMALL)
  tokens = pattern_loops.clip(GRID, registers=0)[order.permutation(GRID)]
  loose = from_pattern(
    pattern, pattern_loops.coordinates(tokens[None]), **SMALL
  )
  np.testing.assert_array_equal(exact.dense(), loose.dense())
  assert (exact.classes != EMPTY).sum() < (loose.classes != EMPTY).sum()


def test_clips_with_padding_are_masked(rng):
  layout, mask = static_mask(Window(t=1, y=2), GRID, registers=2, **SMALL)
  tokens = rng.random((3, 212)) < [[0.5], [1.0], [0.9]]
  tokens[2, 2:128] = False  # whole blocks
  real = layout.store(tokens)
  padded = jax.jit(with_padding)(mask, real)
  real = np.asarray(real)
  expected = dense_of(mask) & real[:, :, None] & real[:, None, :]
  np.testing.assert_array_equal(dense_of(padded), expected)
  np.testing.assert_array_equal(padded.classes[1], mask.classes[0])
  assert np.any(padded.classes[2] == FULL)
  assert (padded.classes[2] == EMPTY).sum() > (mask.classes[0] == EMPTY).sum()


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: static_mask(Dense(), GRID, registers=-1), "at least 0, got -1"),
    (lambda: static_mask(Dense(), (5, 6)), r"a grid is \(T, h, w\)"),
    (
      lambda: with_padding(
        static_mask(Dense(), GRID, **SMALL)[1], np.ones((1, 9), bool)
      ),
      r"real must be \[B, 210\], got \(1, 9\)",
    ),
  ],
)
def test_what_makes_no_sense_is_an_error(make, message):
  with pytest.raises(ValueError, match=message):
    make()
