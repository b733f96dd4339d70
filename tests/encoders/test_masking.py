"""A ViT with an attention pattern, by whichever way its mask is built."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders.masking import pattern_mask
from trajvit.encoders.vit import ViT
from trajvit.types import Tokens

GRID = (3, 4, 5)
WINDOW = dict(name="window", t=1, y=1, x=2, grid=GRID, block=8)


def grid_tokens(rng, batch=2, width=8):
  """Every cell of the grid in raster order, the last frame padding in one."""
  axes = [(np.arange(n) + 0.5) / n for n in GRID]
  centers = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
  mask = np.ones((batch, len(centers)), bool)
  mask[0, -GRID[1] * GRID[2] :] = False
  return Tokens(
    features=rng.normal(size=(*mask.shape, width)).astype(np.float32),
    mask=mask,
    positions=np.tile(centers, (batch, 1, 1)).astype(np.float32),
    size=np.ones(mask.shape, np.float32),
  )


def near(tokens):
  """[N, N], the window by its definition."""
  cells = np.floor(tokens.positions[0] * GRID)
  distance = np.abs(cells[:, None] - cells[None])
  return (distance <= (1, 1, 2)).all(-1)


def make(depth=1, registers=1, **options):
  return ViT(
    width=8,
    depth=depth,
    num_heads=2,
    registers=registers,
    rngs=nnx.Rngs(params=0),
    **options,
  )


def run(encoder, tokens):
  return jax.jit(lambda tokens: encoder(tokens)[0])(tokens)


def shuffled(tokens, order):
  return jax.tree.map(lambda x: x[:, order], tokens)


def test_a_token_sees_its_window_and_the_registers(rng):
  tokens = grid_tokens(rng)
  encoder, seen = make(registers=2, pattern=WINDOW), near(tokens)
  for at in (0, 27):
    features = tokens.features.copy()
    features[:, at] = rng.normal(size=8)
    moved = dataclasses.replace(tokens, features=features)
    out, other = (run(encoder, t).features for t in (tokens, moved))
    changed = np.any(np.asarray(out != other), -1)
    assert changed[:, :2].all()  # registers see everything
    np.testing.assert_array_equal(changed[1, 2:], seen[at])
    np.testing.assert_array_equal(changed[0, 2:], seen[at] & tokens.mask[0])


@pytest.mark.parametrize("order", ["raster", "tile", "hilbert"])
def test_the_order_of_storage_changes_nothing(rng, order):
  tokens = grid_tokens(rng)
  expected = run(make(2, pattern=WINDOW), tokens)
  found = run(make(2, pattern=WINDOW | {"order": {"name": order}}), tokens)
  np.testing.assert_array_equal(found.mask, expected.mask)
  np.testing.assert_allclose(found.features, expected.features, atol=1e-5)


def test_tokens_in_any_order_are_put_by_their_positions(rng):
  tokens = grid_tokens(rng)
  order = rng.permutation(tokens.mask.shape[1])[:-3]  # no whole grid any more
  mixed = shuffled(tokens, order)
  # Compare with the whole grid, where the three that are left out are padding.
  mask = tokens.mask.copy()
  mask[:, np.setdiff1d(np.arange(mask.shape[1]), order)] = False
  whole = dataclasses.replace(tokens, mask=mask)
  encoder = make(2, pattern=WINDOW)
  expected = run(encoder, whole).features[:, 1:][:, order]
  np.testing.assert_allclose(
    run(encoder, mixed).features[:, 1:], expected, atol=1e-5
  )


def test_packed_clips_keep_their_windows(rng):
  tokens = grid_tokens(rng, batch=4)
  packing = dict(clips=2, rows=1, length=125)
  expected = run(make(2, pattern=WINDOW), tokens)
  found = run(make(2, pattern=WINDOW, packing=packing), tokens)
  np.testing.assert_allclose(found.features, expected.features, atol=1e-5)


def test_a_pattern_bounds_what_is_selected(rng):
  tokens = grid_tokens(rng)
  choice = dict(name="top_blocks", k=8, shared=True)  # k: all blocks
  expected = run(make(2, pattern=WINDOW), tokens)
  found = run(make(2, pattern=WINDOW, attention=choice), tokens)
  np.testing.assert_allclose(found.features, expected.features, atol=1e-5)


def test_errors_name_what_came():
  with pytest.raises(ValueError, match=r"grid must be \(T, h, w\).*\(3, 4\)"):
    pattern_mask("window", t=1, grid=(3, 4))
  with pytest.raises(ValueError, match="unknown attention pattern 'windw'"):
    make(pattern=dict(name="windw", grid=GRID))
