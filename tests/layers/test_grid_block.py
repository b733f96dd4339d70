import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.grid_block import GridAttention, GridBlock
from trajvit.ops.position import rotary_cells

GRID = (2, 2, 3)


def turned(x, grid):
  """Channel by channel, as the docstring says it; x [N, K, d]."""
  y, count = x.copy(), x.shape[-1] // 6
  for n, cell in enumerate(np.ndindex(grid)):
    for axis, index in enumerate(cell):
      part = x[n, :, 2 * count * axis : 2 * count * (axis + 1)]
      for c in range(2 * count):
        angle = index * 10000 ** (-(c % count) / count)
        pair = part[:, c + 1] if c % 2 == 0 else part[:, c - 1]
        other = -pair if c % 2 == 0 else pair
        at = 2 * count * axis + c
        y[n, :, at] = np.cos(angle) * part[:, c] + np.sin(angle) * other
  return y


def test_channels_are_turned_by_their_cell(rng):
  x = rng.normal(size=(1, 12, 2, 14))
  got = rotary_cells(x.astype(np.float32), GRID)
  np.testing.assert_allclose(got[0], turned(x[0], GRID), atol=1e-5)
  np.testing.assert_array_equal(got[0, 0], x[0, 0].astype(np.float32))


def test_a_block_of_one_cell_is_a_plain_one(rng, nnx_mode):
  sizes, rngs = (16, 2, 8), dict(rngs=nnx.Rngs(params=0))
  block = GridBlock(*sizes, grid=(1, 1, 1), activation="relu", **rngs)
  plain = Block(*sizes, activation="relu", rngs=nnx.Rngs(params=0))
  nnx.update(plain, nnx.state(block))
  x = rng.normal(size=(2, 1, 16)).astype(np.float32)
  y, expected = (jax.jit(layer)(x)[0] for layer in (block, plain))
  np.testing.assert_allclose(y, expected, atol=1e-6)


def test_places_matter(rng):
  layer = GridAttention(12, 2, grid=GRID, rngs=nnx.Rngs(params=0))
  x = rng.normal(size=(1, 12, 12)).astype(np.float32)
  apply = jax.jit(layer)
  moved = np.asarray(apply(x[:, ::-1])[0])[:, ::-1]
  assert np.abs(moved - apply(x)[0]).max() > 1e-3


def test_narrow_heads_are_refused():
  with pytest.raises(ValueError, match="at least 6 channels, got 4"):
    GridAttention(8, 2, grid=GRID, rngs=nnx.Rngs(params=0))
