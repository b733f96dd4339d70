"""Baseline: even stretches of tokens, averaged."""

import functools
import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from trajvit.layers.reducer import Reducer
from trajvit.ops.merging import merge, plan_merging, take_slots
from trajvit.ops.token_grid import off_grid
from trajvit.types import Tokens


class AveragePool(Reducer):
  """Averages tokens over even stretches, of the grid or of their order.

  With a `grid`, patches are averaged over the cells of a coarser one, see
  `coarse_grid`; without, over stretches of equally many real tokens in a row.
  Means are weighted by size, as in `ops.merging`.

  Args:
    k: slots afterwards. Those that cells of a grid do not fill are masked.
    grid: (T, h, w) of the patches, which then must be the last T h w slots; or
      None.
  """

  def __init__(self, *, k: int, grid: tuple[int, int, int] | None = None):
    self.k, self.grid = k, grid and tuple(grid)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the means, in the order of the first token of each.

    A clip with fewer real tokens than slots keeps them, if there is no grid.
    Aux: `owner` [B, N] int32, the slot that a token went into, -1 = none.

    Raises:
      ValueError: k leaves no slot for a mean, or exceeds N; or there are fewer
        than T h w tokens.
    """
    del key
    free = tokens.mask
    if tokens.protected is not None:
      free = free & ~tokens.protected
    label = self._stretches(tokens) if self.grid is None else self._cells(free)
    free = free & (label >= 0)
    hot = jnp.where(free, label, -1)[..., None] == jnp.arange(self.k)
    first = jnp.argmax(hot, axis=1)  # [B, k], of every stretch
    own = jnp.arange(free.shape[1], dtype=jnp.int32)
    target = jnp.where(free, take_slots(first, jnp.maximum(label, 0)), own)
    plan = plan_merging(
      target, tokens.mask, slots=self.k, protected=tokens.protected
    )
    return merge(tokens, plan), {"owner": plan.owner}

  def _stretches(self, tokens):
    """[B, N], of real tokens in a row."""
    free, steps = tokens.mask, self.k
    if tokens.protected is not None:
      free = free & ~tokens.protected
      steps -= (tokens.mask & tokens.protected).sum(1, keepdims=True)
    count = jnp.maximum(free.sum(1, keepdims=True), 1)
    return (jnp.cumsum(free, axis=1) - 1) * steps // count

  def _cells(self, free):
    """[B, N], the cell of a patch; -1 for what is none."""
    patches = math.prod(self.grid)
    prefix = free.shape[1] - patches
    if prefix < 0:
      raise ValueError(
        f"a grid of {self.grid} has {patches} patches, got {free.shape[1]} "
        "tokens: this reads patches in front of any other reducer"
      )
    cells = coarse_grid(self.grid, self.k - prefix)
    axes = [
      np.arange(n) * m // n for n, m in zip(self.grid, cells, strict=True)
    ]
    at = np.meshgrid(*axes, indexing="ij")
    label = np.ravel_multi_index(at, cells).reshape(1, -1)
    label = off_grid(jnp.asarray(label, jnp.int32), prefix, fill=-1)
    return jnp.broadcast_to(label, free.shape)


@functools.cache
def coarse_grid(
  grid: tuple[int, int, int], budget: int
) -> tuple[int, int, int]:
  """Returns the coarser grid, of at most `budget` cells, to pool a grid to.

  It is the one with most cells, where a cell more than twice as long as wide
  counts as so much less: both 64 and 65 cells of (8, 14, 14) patches are a grid
  of (4, 4, 4). Among equals the one with the cells most alike on all sides is
  taken, and then the finer one in time.

  Raises:
    ValueError: there is no cell.
  """
  if budget < 1:
    raise ValueError(
      f"k must leave a slot beside the tokens that are no patches, got {budget}"
    )

  def merit(cells):
    sides = [Fraction(n, m) for n, m in zip(grid, cells, strict=True)]
    ratio = min(sides) / max(sides)
    return math.prod(cells) * min(1, 2 * ratio), ratio, cells

  every = itertools.product(*(range(1, n + 1) for n in grid))
  return max((x for x in every if math.prod(x) <= budget), key=merit)
