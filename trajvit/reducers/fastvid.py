"""Salient tokens of every frame, and anchors that take in the rest."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.clustering import density_peaks
from trajvit.ops.group_sums import from_clusters, is_center, segment_sums
from trajvit.ops.segments import Segments, similarity_segments
from trajvit.ops.shares import even_shares, falling_rank
from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import TokenGrid, on_grid
from trajvit.ops.unit import unit
from trajvit.types import Tokens


class FastVid(Reducer):
  """Keeps salient tokens, and merges the others into density peaks of anchors.

  A clip is cut where frames are least like the one before. Every frame keeps
  its most salient tokens. The last frame of a segment and every `step` frames
  before it are anchors: the density peaks among what is left of them are
  centres, and what is left of the whole segment joins the most similar centre
  of each anchor, so that a token is in as many of them as there are anchors.

  Source: FastVID, arXiv:2503.11187, on the output of an encoder. There a probe
  head gives salience and the feature of a frame; here salience is the attention
  received in the block before, and a frame is the mean of its patches by it.
  Densities are without noise, and an anchor with fewer tokens than centres to
  place takes them all.

  Args:
    k: slots, those that are no patches among them. The others are spread over
      the T frames, so that a clip with padding gets less in proportion; some
      stay empty where the shares of anchors are rounded down.
    grid: (T, h, w).
    context: share of a frame's slots that go to centres, in [0, 1].
    step: frames from anchor to anchor.
    own: the least weight of a centre against the mean of its members, itself
      among them; in [0, 1].
    threshold: frames with a lower cosine to the one before are cut from it.
    min_segments: of a clip; None for T / 4, the paper's 8 of 32 frames.

  Raises:
    ValueError: an argument is out of range.
  """

  needs_block = True

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    context: float = 0.4,
    step: int = 4,
    own: float = 0.6,
    threshold: float = 0.9,
    min_segments: int | None = None,
  ):
    if not (0 <= context <= 1 and 0 <= own <= 1 and step >= 1):
      raise ValueError(
        f"context and own must be in [0, 1] and step at least 1, got "
        f"{context}, {own} and {step}"
      )
    self.k, self.grid, self.step, self.own = k, tuple(grid), step, own
    self.context, self.threshold = Fraction(str(context)), threshold
    quarter = max(grid[0] // 4, 1)
    self.min_segments = quarter if min_segments is None else min_segments

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns salient tokens and centres at their places, in raster order.

    Sizes: a token that n anchors take in gives 1 / n of its size to each.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      block: the block that put them out.
      key: unused, nothing is drawn.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots they were in; `overflow`,
      zeros; the metric `segments`, a clip.

    Raises:
      ValueError: k leaves no slot for patches, or exceeds N; fewer than T h w
        tokens; or `min_segments` is not in [1, T].
    """
    del key
    patches = on_grid(tokens, self.grid)
    budgets = even_shares(patch_budget(self.k, patches), self.grid[0])
    centers = [int(budget * self.context) for budget in budgets]
    salience = block.received()[:, patches.prefix :]
    salience = salience.reshape(patches.mask.shape)
    segments = self._segments(patches, salience)

    rank = falling_rank(salience, patches.mask)
    salient = np.subtract(budgets, centers)[:, None]
    salient = patches.mask & (rank < salient)  # [B, T, n]
    counts = anchor_counts(segments, jnp.asarray(centers), self.step)
    most = min(max(self.step * max(centers), 1), patches.mask.shape[2])
    size = patch_sizes(tokens, patches)
    features, merged_size, center = merge_into_anchors(
      patches.features,
      patches.mask & ~salient,
      size,
      segments,
      counts,
      most=most,
      own=self.own,
    )
    kept, aux = survivors(
      tokens,
      patches,
      self.k,
      features=jnp.where(center[..., None], features, patches.features),
      size=jnp.where(center, merged_size, size),
      kept=salient | center,
    )
    number = segments.starts.sum(-1).mean(dtype=jnp.float32)
    return kept, aux | {"metrics": {"segments": number}}

  def _segments(self, patches: TokenGrid, salience: jax.Array) -> Segments:
    weight = jnp.where(patches.mask, salience, 0)
    x = patches.features.astype(jnp.float32)
    frame = jnp.einsum("btn,btnd->btd", weight, x)
    real = patches.mask.any(-1)
    return similarity_segments(
      jax.lax.stop_gradient(feature_similarity(frame, real)),
      real,
      threshold=self.threshold,
      min_segments=self.min_segments,
      max_segments=self.grid[0],
    )


def anchor_counts(
  segments: Segments, centers: jax.Array, step: int
) -> jax.Array:
  """Returns how many centres each frame has: none if it is no anchor.

  Args:
    segments: of T frames.
    centers: [T] int32, what each frame gives to its segment.
    step: frames from anchor to anchor, backwards from the last of a segment.

  Returns:
    [B, T] int32: the anchors of a segment share what its frames give, rounded
    down.
  """
  real = segments.ids >= 0
  length = segment_sums(real, segments)
  later = (segments.ids[:, :, None] == segments.ids[:, None]) & real[:, None]
  later = jnp.triu(later, 1).sum(-1)  # frames of the segment behind each
  anchor = real & (later % step == 0)
  given = segment_sums(jnp.where(real, centers, 0), segments)
  anchors = jnp.maximum(-(-length // step), 1)
  return jnp.where(anchor, given // anchors, 0)


def merge_into_anchors(
  features: jax.Array,
  free: jax.Array,
  size: jax.Array,
  segments: Segments,
  counts: jax.Array,
  *,
  most: int,
  own: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns what the centres of anchor frames become.

  Args:
    features: [B, T, n, D], zeros in masked slots.
    free: [B, T, n] bool, the tokens that centres are among and take in.
    size: [B, T, n] float32.
    segments: of the T frames.
    counts: [B, T] int32, centres of each frame.
    most: the largest count there can be, in [1, n].
    own: the least weight of a centre.

  Returns:
    features [B, T, n, D] float32 and size [B, T, n] float32, zeros at tokens
    that are in no cluster of their frame; and [B, T, n] bool, the centres.
  """
  batch, frames, patches, width = features.shape
  clusters = density_peaks(features, free, most, neighbors=4, counts=counts)
  used = clusters.sizes > 0  # [B, T, K]
  x = features.astype(jnp.float32)
  flat = x.reshape(batch, -1, width)  # [B, N, D]
  heads = jnp.take_along_axis(x, clusters.centers[..., None], axis=2)

  highest = jax.lax.Precision.HIGHEST
  cosine = jnp.einsum(
    "bid,btkd->bitk",
    unit(jax.lax.stop_gradient(flat)),
    unit(jax.lax.stop_gradient(heads)),
    precision=highest,
  )
  slot = jnp.arange(frames)[:, None] * patches + clusters.centers
  itself = jnp.arange(frames * patches)[:, None, None] == slot[:, None]
  cosine = jnp.where(itself, 2, cosine)
  cosine = jnp.where(used[:, None], cosine, -jnp.inf)
  ids = jnp.repeat(segments.ids, patches, axis=1)  # [B, N]
  joins = (ids[..., None] == segments.ids[:, None]) & used.any(-1)[:, None]
  joins = joins & free.reshape(batch, -1, 1)  # [B, N, T]
  member = jax.nn.one_hot(jnp.argmax(cosine, axis=-1), most)
  member = jnp.where(joins[..., None], member, 0)  # [B, N, T, K]

  count = member.sum(1)  # [B, T, K]
  total = jnp.einsum("bitk,bid->btkd", member, flat, precision=highest)
  mean = total / jnp.maximum(count, 1)[..., None]
  weight = jnp.maximum(1 / (count + 1), own)[..., None]
  merged = weight * heads + (1 - weight) * mean
  # A centre that takes nothing in stays what it is, bit for bit.
  merged = jnp.where((count > 1)[..., None], merged, heads)
  share = size.reshape(batch, -1) / jnp.maximum(joins.sum(-1), 1)
  sizes = jnp.einsum("bitk,bi->btk", member, share, precision=highest)
  return (
    from_clusters(merged, clusters),
    from_clusters(sizes, clusters),
    is_center(clusters),
  )
