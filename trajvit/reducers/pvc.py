"""PVC: later frames add what is new, before each is compressed."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.reducer import Reducer
from trajvit.layers.time_modulation import CausalTimeLayer, TimeNorm
from trajvit.ops.learned_tokens import behind_protected
from trajvit.ops.position import sinusoid
from trajvit.ops.token_grid import on_grid
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens

EMBEDDING = 256  # channels of the time of a frame


class Pvc(Reducer):
  """Lets patches read their own past, then joins cells of patches (PVC).

  Every place of a frame attends to itself in the frames before, so that a frame
  need only tell what those did not: an image is the first frame of a still
  video. Then each square cell of a frame is laid end to end and mapped to one
  token. Both know the time since the first frame, by adaptive layer norms. The
  gate of the temporal layers starts shut: at first every frame is an image, and
  the first one is so for good, as it has no past.

  Source: PVC, arXiv:2412.09613. There temporal attention is in each of the last
  layers of the encoder, here in layers of its own behind them.

  Args:
    k: slots, with the protected ones; those that are left over are not made.
    grid: (T, h, w) of the patches.
    cell: rows = columns of a cell, in patches; at the edge of a frame it may
      have fewer. None is the smallest with which k leaves a protected slot.
    depth: temporal layers.
    width: D.
    num_heads: K.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    cell: int | None = None,
    depth: int = 2,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.k, self.grid = k, tuple(grid)
    self.cell = least_cell(self.grid, k - 1) if cell is None else cell
    if self.cell < 1:
      raise ValueError(f"cell must be at least 1, got {cell}")
    options = dict(dtype=dtype, rngs=rngs)
    timed = dict(embedding=EMBEDDING) | options
    self.layers = nnx.List(
      [CausalTimeLayer(width, num_heads, **timed) for _ in range(depth)]
    )
    joined = self.cell**2 * width
    self.norm = TimeNorm(joined, **timed)
    self.inner = Linear(joined, width, **options)
    self.outer = Linear(width, width, **options)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens, then those of cells in raster order.

    A cell without a real patch is masked. Positions are the means of a cell's
    real patches, sizes their sums.

    Raises:
      ValueError: the cells of the clip do not fit into k slots; or there are
        fewer than T h w tokens.
    """
    del key
    found = on_grid(tokens, self.grid)
    tokens = zero_masked(tokens)
    batch, frames, places, _ = found.features.shape
    made = frames * cells_of(self.grid, self.cell)
    if found.prefix + made > self.k:
      raise ValueError(
        f"k must be at least {found.prefix} + {made}, for cells of "
        f"{self.cell} x {self.cell} patches, got {self.k}"
      )
    time = sinusoid(jnp.arange(frames)[:, None] / frames, EMBEDDING)
    x = found.features.swapaxes(1, 2).reshape(batch * places, frames, -1)
    mask = found.mask.swapaxes(1, 2).reshape(batch * places, frames)
    for layer in self.layers:
      x = layer(x, time, mask)
    x = x.reshape(batch, places, frames, -1).swapaxes(1, 2)

    x = self._cells(x)  # [B, T, cells, r r, D]
    x = x.reshape(*x.shape[:3], -1)
    x = self.inner(self.norm(x, time[:, None]))
    x = self.outer(jax.nn.gelu(x, approximate=False))
    real, where, size = (
      self._cells(y[:, found.prefix :].reshape(batch, frames, places, -1))
      for y in (tokens.mask, tokens.positions, tokens.size)
    )
    count = real.sum(3)  # [B, T, cells, 1]
    flat = (batch, made)
    new = Tokens(
      features=x.reshape(*flat, -1),
      mask=(count > 0).reshape(flat),
      positions=(where.sum(3) / jnp.maximum(count, 1)).reshape(*flat, 3),
      size=size.sum(3).reshape(flat),
    )
    slots = found.prefix + made
    return behind_protected(tokens, zero_masked(new), slots), {}

  def _cells(self, x):
    """[B, T, h w, C] -> [B, T, cells, r r, C], zeros outside of the frame."""
    _, height, width = self.grid
    r = self.cell
    x = x.reshape(*x.shape[:2], height, width, -1)
    spare = ((0, 0), (0, 0), (0, -height % r), (0, -width % r), (0, 0))
    x = jnp.pad(x, spare)
    batch, frames, rows, columns, channels = x.shape
    x = x.reshape(batch, frames, rows // r, r, columns // r, r, channels)
    x = x.swapaxes(3, 4)
    return x.reshape(batch, frames, -1, r * r, channels)


def cells_of(grid: tuple[int, int, int], cell: int) -> int:
  """Returns how many cells of cell x cell patches cover a frame of a grid."""
  return int(np.prod([-(-side // cell) for side in grid[1:]]))


def least_cell(grid: tuple[int, int, int], budget: int) -> int:
  """Returns the smallest cell by which a clip has at most `budget` cells.

  Raises:
    ValueError: there are more frames than that.
  """
  for cell in range(1, max(grid[1:]) + 1):
    if grid[0] * cells_of(grid, cell) <= budget:
      return cell
  raise ValueError(
    f"k must be more than the {grid[0]} frames, each of which keeps a token, "
    f"got {budget + 1}"
  )
