"""Diverse tokens of every frame, and trees that follow the others over time."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.clustering import density_peaks
from trajvit.ops.distances import cosine_distances
from trajvit.ops.farthest import farthest_points
from trajvit.ops.group_sums import (
  cluster_sums,
  group_means,
  is_center,
  segment_sums,
)
from trajvit.ops.segments import Segments, similarity_segments
from trajvit.ops.shares import even_shares, shares_by_count
from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import on_grid
from trajvit.ops.token_trees import (
  nearest_before,
  strongest_links,
  sum_trees,
)
from trajvit.types import Tokens


class FlashVid(Reducer):
  """Keeps diverse tokens, and merges the others along trees through time.

  A clip is cut where frames are least like the one before. Every frame keeps
  tokens that are attended to and unlike each other (see `diverse_tokens`). Each
  other one hangs on the token of the frame before that it is most like,
  wherever that is, if they are alike enough; trees become the means of their
  tokens, at the root. Where a segment has more trees than slots, those of each
  frame are replaced by the means of density-peak clusters, at the centres.

  Source: FlashVID, arXiv:2602.08024, on the output of an encoder. In its code a
  merged token counts its children only, so that deep trees are scaled up, what
  was kept is kept once more in segments of one frame, densities have noise and
  shares of frames are rounded up. Here means are true, nothing is kept twice,
  shares sum to the budget, and densities are of 7 neighbours.

  Args:
    k: slots, those that are no patches among them. The others are spread over
      the T frames, so that a clip with padding gets less in proportion.
    grid: (T, h, w).
    diverse: share of a frame's slots, rounded up, that go to diverse tokens.
    link: tokens are linked by a higher cosine. Never so many that slots of the
      segment are left over: the strongest links are the first.
    relevance: whether diversity counts what is relevant to the segment.
    threshold: frames with a lower cosine to the one before are cut from it.
    min_segments: of a clip; None for T / 4, the paper's 8 of 32 frames.

  Raises:
    ValueError: `diverse` is not in [0, 1].
  """

  needs_block = True

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    diverse: float = 0.7,
    link: float = 0.8,
    relevance: bool = True,
    threshold: float = 0.9,
    min_segments: int | None = None,
  ):
    if not 0 <= diverse <= 1:
      raise ValueError(f"diverse must be in [0, 1], got {diverse}")
    self.k, self.grid, self.link = k, tuple(grid), link
    self.diverse, self.relevance = Fraction(str(diverse)), relevance
    self.threshold = threshold
    quarter = max(grid[0] // 4, 1)
    self.min_segments = quarter if min_segments is None else min_segments

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns diverse tokens and merged ones, in raster order.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      block: the block that put them out.
      key: unused, nothing is drawn.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots of what is kept, roots
      and centres; `overflow` [B] int32, trees of frames for which there was no
      slot, as there is none where all go to diverse tokens; the metrics
      `segments` and `linked`, tokens that hang on others, both a clip.

    Raises:
      ValueError: k leaves no slot for patches, or exceeds N; fewer than T h w
        tokens; or `min_segments` is not in [1, T].
    """
    del key
    patches = on_grid(tokens, self.grid)
    budgets = even_shares(patch_budget(self.k, patches), self.grid[0])
    mask, x = patches.mask, patches.features.astype(jnp.float32)
    real = mask.any(-1)
    count = jnp.maximum(mask.sum(-1, keepdims=True), 1)
    frames = jax.lax.stop_gradient(x.sum(2) / count)  # [B, T, D]
    segments = similarity_segments(
      feature_similarity(frames, real),
      real,
      threshold=self.threshold,
      min_segments=self.min_segments,
      max_segments=self.grid[0],
    )

    weight = block.received()[:, patches.prefix :].reshape(mask.shape)
    if self.relevance:
      weight = weight * segment_relevance(x, frames, segments)
    counts = [math.ceil(budget * self.diverse) for budget in budgets]
    diverse = diverse_tokens(x, mask, weight, counts)
    free = mask & ~diverse

    # Slots of a segment, and how many of its tokens have to do without.
    slots = jnp.where(real, jnp.asarray(budgets), 0)
    slots = segment_sums(slots, segments) - segment_sums(
      diverse.sum(-1), segments
    )  # [B, T]
    excess = segment_sums(free.sum(-1), segments) - slots
    similarity, parent = nearest_before(x, free, segments)
    able = similarity > self.link
    linked = strongest_links(similarity, able, segments, excess)
    x, size = group_means(
      x,
      patch_sizes(tokens, patches),
      lambda y: sum_trees(y, parent, linked, real),
    )

    roots = free & ~linked
    clusters = density_peaks(
      x,
      roots,
      min(self.k - patches.prefix, mask.shape[2]),
      counts=segment_shares(roots.sum(-1), slots, segments),
    )
    center = is_center(clusters)
    means, sizes = group_means(x, size, lambda y: cluster_sums(y, clusters))
    lost = (roots & (clusters.labels < 0)).sum((1, 2), dtype=jnp.int32)
    left, aux = survivors(
      tokens,
      patches,
      self.k,
      features=jnp.where(center[..., None], means, x),
      size=jnp.where(center, sizes, size),
      kept=diverse | center,
    )
    numbers = {
      "segments": segments.starts.sum(-1),
      "linked": linked.sum((1, 2)),
    }
    metrics = {name: y.mean(dtype=jnp.float32) for name, y in numbers.items()}
    aux["overflow"] += lost
    return left, aux | {"metrics": metrics}


def diverse_tokens(
  x: jax.Array, mask: jax.Array, weight: jax.Array, counts: list[int]
) -> jax.Array:
  """Returns the tokens of each frame that are weighty and unlike each other.

  Greedily the one with the largest product of its weight and the cosine
  distance to the nearest of those before it; the first is that with the largest
  product to the nearest of all.

  Args:
    x: [B, T, n, D], zeros in masked slots.
    mask: [B, T, n] bool.
    weight: [B, T, n] float32.
    counts: of each frame, in [0, n]; a frame with fewer real ones keeps all.

  Returns:
    [B, T, n] bool.
  """
  if not max(counts):
    return jnp.zeros_like(mask)
  distance = cosine_distances(jax.lax.stop_gradient(x)) * weight[..., None, :]
  other = mask[..., :, None] & ~jnp.eye(mask.shape[-1], dtype=bool)
  nearest = jnp.where(other, distance, jnp.inf).min(-2)
  first = jnp.argmax(jnp.where(mask, nearest, -jnp.inf), axis=-1)
  picks, found = farthest_points(distance, mask, max(counts), first)
  rank = jnp.arange(max(counts))
  found = found & (rank < jnp.asarray(counts)[:, None])
  chosen = (picks[..., None] == jnp.arange(mask.shape[-1])) & found[..., None]
  return chosen.any(-2)


def segment_relevance(
  x: jax.Array, frames: jax.Array, segments: Segments
) -> jax.Array:
  """Returns the mean product of a token with the frames of its segment.

  Args:
    x: [B, T, n, D] float32.
    frames: [B, T, D] float32, features of the frames.
    segments: of the T frames.

  Returns:
    [B, T, n] float32; negative ones are 0, as they would turn distances around.
  """
  real = segments.ids >= 0
  length = jnp.maximum(segment_sums(real, segments), 1)[..., None]
  event = segment_sums(jnp.where(real[..., None], frames, 0), segments) / length
  highest = jax.lax.Precision.HIGHEST
  product = jnp.einsum("btnd,btd->btn", x, event, precision=highest)
  return jnp.maximum(product, 0)


def segment_shares(
  counts: jax.Array, total: jax.Array, segments: Segments
) -> jax.Array:
  """Returns the shares of the frames of a segment in what it has.

  Args:
    counts: [B, T] int32, tokens of each frame.
    total: [B, T] int32, slots of the segment of each frame.
    segments: of the T frames.

  Returns:
    [B, T] int32, in proportion to the counts, and none above them.
  """
  together = segments.ids[:, :, None] == segments.ids[:, None]
  mine = jnp.where(together, counts[:, None], 0)  # [B, T, T]
  shares = shares_by_count(mine, jnp.maximum(total, 0))
  return jnp.diagonal(shares, axis1=1, axis2=2)
