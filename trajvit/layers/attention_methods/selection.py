"""Attention over tiles that are chosen by what queries and keys look like.

A model that was trained with full attention can be run so; to train so from the
start, begin with full attention and lower k in a few steps, each of which is
compiled anew.
"""

import dataclasses

import jax
import numpy as np

from trajvit.layers.attention_methods.context import (
  Context,
  base_mask,
  refuse_packed,
)
from trajvit.ops.attention import BlockMask, attention
from trajvit.ops.attention.dynamic.select import (
  density,
  forced_tiles,
  pooled_scores,
  register_tiles,
  top_blocks,
  top_mass,
)
from trajvit.ops.attention.dynamic.vertical_slash import vertical_slash


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
  """What methods that choose tiles have in common.

  Tiles are chosen out of those of the mask, for each clip and head. Always in
  are the diagonal, the first blocks, tiles of a register that the mask knows
  of, and tiles of a block with several clips.

  Attributes:
    block: tokens in a block, where the mask is not cut into blocks yet; kernels
      for TPU want a multiple of 128.
    sinks: how many first blocks all tokens attend to: registers are there.
    diagonal: whether a block always attends to itself.
    shared: whether all layers of a stage use the choice of its first one
      (TidalDecode, arXiv:2410.05076, does so with tokens; SparseD,
      arXiv:2509.24014, over denoising steps).
  """

  block: int = 128
  sinks: int = 1
  diagonal: bool = True
  shared: bool = False

  def select(
    self, query: jax.Array, key: jax.Array, context: Context
  ) -> BlockMask:
    """Returns the chosen tiles for query and key [B, N, K, d]."""
    query, key = jax.lax.stop_gradient((query, key))
    base = base_mask(context, query.shape[1], self.block)
    forced, capacity = around(
      self.most(), context, base, diagonal=self.diagonal, sinks=self.sinks
    )
    return self.choose(query, key, base, forced, capacity)

  def most(self) -> int | None:
    """Returns how many tiles of a row are chosen at most, if it is bounded."""
    raise NotImplementedError

  def choose(self, query, key, base, forced, capacity) -> BlockMask:
    """Returns the chosen tiles of `base`, and the forced ones."""
    raise NotImplementedError

  def selected(self, query, key, context) -> BlockMask:
    """Returns the choice of the stage, or this layer's own."""
    if context.selected is not None:
      return context.selected
    return self.select(query, key, context)

  def __call__(self, query, key, value, context):
    """See the package; aux has `density` [] and `dropped` [] of the tiles."""
    chosen = self.selected(query, key, context)
    out = attention(query, key, value, mask=chosen, bias=context.bias)
    return out, describe(chosen)


def around(
  most: int | None, context: Context, base: BlockMask, **options
) -> tuple[jax.Array | np.ndarray, int | None]:
  """Returns the tiles that any choice holds, and the capacity for it.

  Args:
    most: how many other tiles of a row are chosen at most, or None.
    context: of the layer.
    base: its mask, cut into blocks.
    **options: of `forced_tiles`.
  """
  fixed = forced_tiles(base, **options)
  if isinstance(context.mask, BlockMask):
    return register_tiles(base) | fixed, None
  if most is None or context.packed:
    return fixed, None
  # Lists can be shorter where it is known what else is in them.
  return fixed, most + int(fixed.sum(-1).max())


def describe(chosen: BlockMask) -> dict:
  """Returns the aux of a choice: the share of tiles, and how many got lost."""
  return {"density": density(chosen), "dropped": chosen.dropped}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopBlocks(Selection):
  """The k key blocks whose mean key is nearest to the mean query of a block.

  Source: the block-sparse heads of MInference, arXiv:2407.02490.

  Attributes:
    k: key blocks of a query block, besides those that are always in.
  """

  k: int

  def most(self):
    """See Selection."""
    return self.k

  def choose(self, query, key, base, forced, capacity):
    """See Selection."""
    scores = pooled_scores(query, key, base)
    return top_blocks(scores, self.k, base, forced=forced, capacity=capacity)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopMass(Selection):
  """The fewest key blocks that hold a share of the pooled attention.

  Attributes:
    mass: that share, in (0, 1].
    max_blocks: the most key blocks of a query block, besides those that are
      always in; None is no bound.
  """

  mass: float
  max_blocks: int | None = None

  def most(self):
    """See Selection."""
    return self.max_blocks

  def choose(self, query, key, base, forced, capacity):
    """See Selection."""
    scores = pooled_scores(query, key, base)
    return top_mass(
      scores,
      self.mass,
      base,
      most=self.max_blocks,
      forced=forced,
      capacity=capacity,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerticalSlash(Selection):
  """The columns and diagonals of tiles that the last queries attend to.

  Source: MInference, arXiv:2407.02490; see `dynamic.vertical_slash`.
  Rows must be one clip each.

  Attributes:
    columns: how many columns of tiles.
    diagonals: how many distances from the diagonal.
    last: how many queries decide.
  """

  columns: int
  diagonals: int
  last: int = 64

  def select(self, query, key, context):
    """See Selection."""
    refuse_packed(context, "vertical_slash")
    return super().select(query, key, context)

  def most(self):
    """See Selection."""
    return self.columns + 2 * self.diagonals

  def choose(self, query, key, base, forced, capacity):
    """See Selection."""
    return vertical_slash(
      query,
      key,
      base,
      columns=self.columns,
      diagonals=self.diagonals,
      last=self.last,
      forced=forced,
      capacity=capacity,
    )
