"""Nodes of quadtrees, merged along time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity, previous_real
from trajvit.ops.merge_budget import most_similar, plan_best
from trajvit.ops.merged_positions import head_positions
from trajvit.ops.merging import merge, take_slots
from trajvit.ops.quadtree import quadtree
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class Sttm(Reducer):
  """Merges what is alike in a frame into squares, and squares along time.

  Every frame becomes a quadtree. A node covers some nodes of the frame before,
  or is inside of one; the most similar of them is the one it may join. Chains
  end at the earliest node, whose first patch gives the position; the feature is
  the mean over nodes. Source: STTM, arXiv:2507.07990, in front of a language
  model, or of its third layer. There both thresholds are given: 0.8 to 0.95 in
  space and 0.5 to 0.65 in time.

  Args:
    k: slots afterwards, protected tokens among them.
    grid: (T, h, w).
    spatial_threshold: of the cosine of a node with its children; a node all of
      whose children reach it is not split.
    temporal_threshold: None joins nodes, the most similar first, until k slots
      hold the rest; a number joins all pairs that reach it. Tokens of the
      fewest patches are dropped if there are still too many.
    root_level: of the largest nodes, see `ops.quadtree`; 1 is 4 x 4 nodes of a
      frame of 14 x 14.
    weighted: whether means count patches, instead of nodes.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    spatial_threshold: float = 0.9,
    temporal_threshold: float | None = None,
    root_level: int = 1,
    weighted: bool = False,
  ):
    self.k, self.grid, self.root_level = k, tuple(grid), root_level
    self.spatial_threshold = spatial_threshold
    self.temporal_threshold = temporal_threshold
    self.weighted = weighted

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns one token a group of nodes, in raster order of their first patch.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the choice is fixed.

    Returns:
      k tokens; empty slots where the squares alone leave fewer. Aux: `owner`
      [B, N] int32, the slot each token is in now, -1 for none; `nodes` [B]
      int32, nodes of all frames; `overflow` [B] int32, tokens without a slot.

    Raises:
      ValueError: k is not in [1, N]; what `on_grid` raises.
    """
    del key
    tokens = zero_masked(tokens)
    found = on_grid(tokens, self.grid)
    frames, height, width = self.grid
    batch, patches = tokens.mask.shape[0], height * width
    cells = (batch, frames, height, width)
    corner, node = quadtree(
      found.features.reshape(*cells, -1),
      found.mask.reshape(cells),
      threshold=self.spatial_threshold,
      root_level=self.root_level,
    )
    corner = corner.reshape(found.mask.shape)  # [B, T, n]
    similarity = feature_similarity(
      node.reshape(found.features.shape), found.mask
    )

    # From here [B, N], with slots among all tokens.
    slots = jnp.arange(tokens.mask.shape[1])
    frame = jnp.arange(frames)[:, None]
    head = found.prefix + frame * patches + corner
    before, _ = previous_real(head, found.mask)
    best, where = best_cells(similarity, corner)
    before = jnp.take_along_axis(before, where, axis=-1)
    patch = tokens.mask & (slots >= found.prefix)
    head = jnp.where(patch, off_grid(head, found.prefix), slots)
    is_head = tokens.mask & (head == slots)
    best = jnp.where(
      is_head, off_grid(best, found.prefix, fill=-jnp.inf), -jnp.inf
    )
    most = is_head.sum(1)
    if self.temporal_threshold is None:
      most = most - self.k
    joins = most_similar(best, most, self.temporal_threshold)
    target = jnp.where(joins, off_grid(before, found.prefix), head)
    for _ in range(frames.bit_length()):  # a patch is at most T links away
      target = take_slots(target, target)

    size = tokens.size
    plan = plan_best(
      target,
      tokens.mask,
      jnp.where(patch, sum_at(size, target), jnp.inf),
      slots=self.k,
      protected=tokens.protected,
    )
    merged = merge(tokens, plan)
    if not self.weighted:
      share = size / jnp.maximum(take_slots(sum_at(size, head), head), 1e-6)
      merged = dataclasses.replace(
        merge(tokens, plan, weight=share), size=merged.size
      )
    merged = dataclasses.replace(
      merged, positions=head_positions(tokens.positions, plan)
    )
    nodes = (is_head & patch).sum(1, dtype=jnp.int32)
    aux = {"owner": plan.owner, "nodes": nodes, "overflow": plan.overflow}
    return merged, aux


@functools.partial(jnp.vectorize, signature="(n),(n)->(n),(n)")
def best_cells(
  score: jax.Array, corner: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the highest score of the cells of a node, and the first such cell.

  Args:
    score: [..., n] float32 of every cell.
    corner: [..., n] int32, the first cell of the node that each one is in, -1
      where masked.

  Returns:
    [..., n] float32 and int32, at the first cell of every node; -inf and 0
    elsewhere.
  """
  count = corner.shape[0]
  bins = jnp.where(corner < 0, count, corner)
  best = jnp.full(count, -jnp.inf, score.dtype).at[bins].max(score, mode="drop")
  tops = score == best.at[bins].get(mode="fill", fill_value=jnp.inf)
  place = jnp.where(tops, jnp.arange(count, dtype=jnp.int32), count)
  first = jnp.full(count, count, jnp.int32).at[bins].min(place, mode="drop")
  return best, jnp.where(first < count, first, 0)


@functools.partial(jnp.vectorize, signature="(n),(n)->(n)")
def sum_at(x: jax.Array, index: jax.Array) -> jax.Array:
  """Returns [..., n], at i the sum of x [..., n] where index [..., n] is i."""
  return jnp.zeros_like(x).at[index].add(x)
