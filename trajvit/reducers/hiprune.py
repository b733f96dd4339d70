"""Anchors on objects, what is around them, and tokens of global context."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import highest, select_marked
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.types import Tokens


class Hierarchy(NamedTuple):
  """Which patches stay, and as what; all [B, T h w] bool and disjoint.

  Attributes:
    anchors: of the highest object score.
    buffers: beside an anchor, in the same frame.
    registers: of the highest global score among all others.
  """

  anchors: jax.Array
  buffers: jax.Array
  registers: jax.Array


class HiPrune(Reducer):
  """Keeps tokens by attention received, on objects and in the whole clip.

  Blocks in the middle of an encoder attend to objects, so the tokens most
  attended to there are anchors, and their four neighbours stay with them; what
  is left of the budget goes to the tokens most attended to by the last block,
  where they gather the context. Source: HiPrune, arXiv:2508.00553, behind the
  encoder, with block 9 of 24 for objects. Here both scores are those of the one
  block before, read where the reducer sits; `hierarchy` takes two. In the
  released code neighbours wrap around the edges of the image, here they do not.

  Args:
    k: tokens kept, protected ones among them.
    grid: (T, h, w).
    alpha: in [0, 1], the share of anchors with their neighbours.

  Raises:
    ValueError: alpha is out of range.
  """

  needs_block = True

  def __init__(self, *, k: int, grid: tuple[int, int, int], alpha: float = 0.1):
    if not 0 <= alpha <= 1:
      raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    self.k, self.grid, self.alpha = k, tuple(grid), alpha

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the kept tokens in raster order.

    A clip with fewer than k real tokens keeps them all.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      block: the block that put them out.
      key: unused, the choice is fixed.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots kept, and the fields of
      `Hierarchy`.

    Raises:
      ValueError: k leaves no slot for a patch; what `on_grid` raises.
    """
    del key
    found = on_grid(tokens, self.grid)
    if self.k <= found.prefix:
      raise ValueError(
        f"k must be above {found.prefix}, the tokens that are no patches, got "
        f"{self.k}"
      )
    mask = found.mask.reshape(found.mask.shape[0], -1)
    queries = off_grid(found.mask, found.prefix, fill=False)
    score = block.received(queries)[:, found.prefix :]
    chosen = hierarchy(
      score,
      score,
      mask,
      grid=self.grid,
      count=self.k - found.prefix,
      alpha=self.alpha,
    )
    stays = chosen.anchors | chosen.buffers | chosen.registers
    stays = off_grid(stays, found.prefix, fill=True)
    kept, indices, _ = select_marked(tokens, stays, self.k)
    return kept, {"indices": indices} | chosen._asdict()


def hierarchy(
  object_score: jax.Array,
  global_score: jax.Array,
  mask: jax.Array,
  *,
  grid: tuple[int, int, int],
  count: int,
  alpha: float,
) -> Hierarchy:
  """Returns anchors, buffers and registers, `count` patches in all.

  Args:
    object_score: [B, T h w] float, decides on anchors.
    global_score: [B, T h w] float, decides on registers, and on buffers where
      there are more than fit.
    mask: [B, T h w] bool, True = real.
    grid: (T, h, w).
    count: K, in [1, T h w].
    alpha: in [0, 1]; round(K alpha / 5) are anchors, at least one unless it is
      0. Of equals the lower index is preferred.
  """
  frames, height, width = grid
  anchors = jnp.zeros_like(mask)
  if alpha > 0:
    number = max(1, round(count * alpha / 5))
    anchors = mask & _marks(highest(object_score, number, mask=mask), mask)
  at = anchors.reshape(-1, frames, height, width)
  at = jnp.pad(at, ((0, 0), (0, 0), (1, 1), (1, 1)))
  beside = at[..., :-2, 1:-1] | at[..., 2:, 1:-1]
  beside |= at[..., 1:-1, :-2] | at[..., 1:-1, 2:]
  beside = beside.reshape(mask.shape) & mask & ~anchors
  keys = (anchors, beside, global_score)
  kept = mask & _marks(highest(keys, count, mask=mask), mask)
  return Hierarchy(anchors, kept & beside, kept & ~beside & ~anchors)


def _marks(indices, mask):
  """[B, K] slots to [B, N] bool."""
  return (indices[..., None] == jnp.arange(mask.shape[1])).any(1)
