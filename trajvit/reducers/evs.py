"""EVS: the tokens of a clip that changed most."""

import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.selection import select
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.types import Tokens


class Evs(Reducer):
  """Keeps the first frame whole, then the tokens that changed most.

  Change is 1 - cosine with the token at the same place of the frame before, in
  the whole clip ranked together: busy frames keep more. What nothing came
  before is of the largest change. Source: efficient video sampling,
  arXiv:2510.14624, behind the encoder and without training. The tokenizer `evs`
  does it to pixels.

  Args:
    k: tokens kept, at least those of one frame; protected ones are always among
      them.
    grid: (T, h, w).

  Raises:
    ValueError: k is less than h w.
  """

  def __init__(self, *, k: int, grid: tuple[int, int, int]):
    self.k, self.grid = k, tuple(grid)
    first = self.grid[1] * self.grid[2]
    if k < first:
      raise ValueError(f"k must hold the {first} tokens of a frame, got {k}")

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in raster order.

    A clip with fewer than k real tokens keeps them all. Aux: `indices`
    [B, k] int32, the slots kept.

    Raises:
      ValueError: there are fewer tokens than the grid has places, or than k.
    """
    del key
    grid = on_grid(tokens, self.grid)
    change = 1 - feature_similarity(grid.features, grid.mask)
    score = off_grid(change, grid.prefix, fill=jnp.inf)
    kept, indices = select(tokens, score, self.k)
    return kept, {"indices": indices}
