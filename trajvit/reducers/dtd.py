"""DTD: tokens unlike the one before them."""

import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.runs import drop_least_changed, keep_dissimilar
from trajvit.ops.selection import select_marked
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.types import Tokens


class Dtd(Reducer):
  """Drops tokens that are nearly those of one frame earlier.

  Compared is the cosine with the token at the same place of the frame before,
  kept or not; the first frame is kept whole. Source: the differential token
  drop of TimeChat-Online, arXiv:2504.17343, behind the encoder and without
  training. The tokenizer `dtd` does it to pixels.

  Args:
    k: slots, protected tokens included. Where more are to be kept, those that
      changed most are, and `overflow` counts the others.
    grid: (T, h, w).
    threshold: in [-1, 1]; a token whose cosine is above it is dropped. If
      `relative`, in [0, 1], the share of tokens that every later frame drops,
      rounded down. None fills k with those that changed most.
    relative: see `threshold`.

  Raises:
    ValueError: the threshold is out of range, or None and relative.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    threshold: float | None = 0.5,
    relative: bool = False,
  ):
    least = 0 if relative else -1
    if threshold is None and relative:
      raise ValueError("a relative threshold must be a share, got None")
    if threshold is not None and not least <= threshold <= 1:
      raise ValueError(
        f"threshold must be in [{least}, 1], got {threshold} with "
        f"relative={relative}"
      )
    self.k, self.grid = k, tuple(grid)
    self.threshold, self.relative = threshold, relative

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in raster order.

    Aux: `indices` [B, k] int32, the slots kept; `overflow` [B] int32, how many
    were to be kept and found no slot, 0 if the threshold is None; `kept`
    [B, T] int32, how many each frame was to keep, which is many where the scene
    changes.

    Raises:
      ValueError: there are fewer tokens than the grid has places, or than k.
    """
    del key
    grid = on_grid(tokens, self.grid)
    similarity = feature_similarity(grid.features, grid.mask)
    change = 1 - similarity
    if self.threshold is None:
      keep = grid.mask
    elif self.relative:
      # 0.29 * 100 is meant to be 29.
      drop = int(round(self.threshold * self.grid[1] * self.grid[2], 6))
      keep = drop_least_changed(change, grid.mask, drop)
    else:
      keep = keep_dissimilar(similarity, grid.mask, threshold=self.threshold)
    marked = off_grid(keep, grid.prefix, fill=True)
    score = off_grid(change, grid.prefix, fill=jnp.inf)
    kept, indices, overflow = select_marked(tokens, marked, self.k, score)
    if self.threshold is None:
      overflow = jnp.zeros_like(overflow)
    aux = {"indices": indices, "overflow": overflow}
    return kept, aux | {"kept": keep.sum(2, dtype=jnp.int32)}
