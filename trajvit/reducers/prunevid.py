"""Scenes, what stands still in them, and clusters of both."""

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.clustering import density_peaks
from trajvit.ops.group_sums import (
  cluster_sums,
  group_means,
  is_center,
  segment_sums,
)
from trajvit.ops.label_segments import label_segments
from trajvit.ops.segments import Segments
from trajvit.ops.shares import shares_by_count
from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import TokenGrid, on_grid
from trajvit.ops.unit import unit
from trajvit.types import Tokens

# Groups of no more tokens than this are left as they are, if a ratio is given.
SMALL = 14


class PruneVid(Reducer):
  """Folds what stands still in a scene over time, then clusters in space.

  Frames are clustered by density peaks, and the clusters made contiguous, to
  scenes (`ops.label_segments`). A patch whose features in all frames of a scene
  are alike, pair by pair, is static: it becomes their mean, in the scene's
  first frame. The static patches of every scene and the others of every frame
  are each replaced by the means of density-peak clusters.

  Source: the visual half of PruneVid, arXiv:2412.16117, on the output of an
  encoder. Densities are without noise, tokens stay in raster order instead of
  by score, and a scene of a single frame has no static patch.

  Args:
    k: slots, those that are no patches among them.
    grid: (T, h, w).
    ratio: None fills k: groups share the slots by their number of tokens. A
      number is the paper's rule, with 0.5: groups of more than 14 tokens keep
      int(ratio * number) clusters, smaller ones stay. Where that is more than k
      the clusters of the highest peak score of each group stay, the best of all
      groups first.
    threshold: static patches have a higher mean cosine between frames.
    scenes: clusters of frames, as a share of them; in (0, 1].

  Raises:
    ValueError: `ratio` or `scenes` is out of range.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    ratio: float | None = None,
    threshold: float = 0.8,
    scenes: float = 0.25,
  ):
    if ratio is not None and not 0 < ratio <= 1 or not 0 < scenes <= 1:
      raise ValueError(
        f"ratio and scenes must be in (0, 1], got {ratio} and {scenes}"
      )
    self.k, self.grid, self.ratio = k, tuple(grid), ratio
    self.threshold, self.scenes = threshold, scenes

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the means of clusters at the places of their centres.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, nothing is drawn.

    Returns:
      k tokens in raster order. Aux: `indices` [B, k] int32, the slots of the
      centres, for static ones that in the first frame of the scene; `overflow`
      [B] int32, clusters without a slot if `ratio` is given, and tokens of
      scenes or frames that got no cluster; the
      metrics `segments` and `folded`, tokens saved by folding, both a clip.

    Raises:
      ValueError: k leaves no slot for patches, or exceeds N; or there are fewer
        than T h w tokens.
    """
    del key
    patches = on_grid(tokens, self.grid)
    budget = patch_budget(self.k, patches)
    mask, x = patches.mask, patches.features.astype(jnp.float32)
    segments = self._segments(patches)
    still = static_patches(x, mask, segments, threshold=self.threshold)
    folded = still & segments.starts[..., None]
    size = patch_sizes(tokens, patches)
    length = segment_sums(mask.any(-1), segments)[..., None, None]
    mean = segment_sums(jnp.where(still[..., None], x, 0), segments)
    x = jnp.where(folded[..., None], mean / jnp.maximum(length, 1), x)
    size = jnp.where(folded, segment_sums(size, segments), size)

    groups = jnp.stack([folded, mask & ~still], axis=1)  # [B, 2, T, n]
    found, sizes, ranks, lost = self._clusters(x, size, groups, budget)
    left, aux = survivors(
      tokens,
      patches,
      self.k,
      features=found,
      size=sizes,
      kept=ranks >= 0,
      keys=(-ranks,),
    )
    numbers = {
      "segments": segments.starts.sum(-1),
      "folded": (still & ~segments.starts[..., None]).sum((1, 2)),
    }
    means = {name: y.mean(dtype=jnp.float32) for name, y in numbers.items()}
    aux["overflow"] += lost
    return left, aux | {"metrics": means}

  def _segments(self, patches: TokenGrid) -> Segments:
    """The scenes, from the means of the frames' patches."""
    real = patches.mask.any(-1)
    count = jnp.maximum(patches.mask.sum(-1, keepdims=True), 1)
    frames = patches.features.astype(jnp.float32).sum(2) / count  # [B, T, D]
    most = max(int(self.scenes * self.grid[0]), 1)
    scenes = jnp.floor(self.scenes * real.sum(-1)).astype(jnp.int32)
    found = density_peaks(frames, real, most, counts=jnp.maximum(scenes, 1))
    return label_segments(found.labels, real)

  def _clusters(self, x, size, groups, budget):
    """Clusters of all groups, given at the slots of their centres.

    Args:
      x: [B, T, n, D] float32.
      size: [B, T, n] float32.
      groups: [B, 2, T, n] bool, disjoint over the first two.
      budget: slots for all clusters.

    Returns:
      Features and sizes like the first two; [B, T, n] int32, the rank of a
      centre's peak score in its group, -1 for what is no centre; and [B] int32,
      tokens of groups without any cluster.
    """
    batch, patches = x.shape[0], x.shape[2]
    count = groups.sum(-1)  # [B, 2, T]
    if self.ratio is None:
      share = shares_by_count(count.reshape(batch, -1), budget)
      share = share.reshape(count.shape)
      most = min(budget, patches)
    else:
      clustered = jnp.floor(count * self.ratio).astype(jnp.int32)
      share = jnp.where(count > SMALL, clustered, count)
      most = min(max(int(patches * self.ratio), SMALL), patches)
    both = jnp.broadcast_to(x[:, None], groups.shape + x.shape[-1:])
    clusters = density_peaks(both, groups, most, counts=share)
    sizes = jnp.broadcast_to(size[:, None], groups.shape)
    mean, sizes = group_means(both, sizes, lambda y: cluster_sums(y, clusters))
    center = is_center(clusters)  # in one group at most
    lost = (groups & (clusters.labels < 0)).sum((1, 2, 3), dtype=jnp.int32)
    return (
      jnp.where(center[..., None], mean, 0).sum(1),
      jnp.where(center, sizes, 0).sum(1),
      jnp.where(center, clusters.labels, -1).max(1),
      lost,
    )


def static_patches(
  x: jax.Array, mask: jax.Array, segments: Segments, *, threshold: float
) -> jax.Array:
  """Returns the patches whose mean cosine over the pairs of frames is higher.

  Args:
    x: [B, T, n, D] float32, zeros in masked slots.
    mask: [B, T, n] bool.
    segments: of the T frames.
    threshold: a mean of just as much is not static.

  Returns:
    [B, T, n] bool, alike in all frames of a segment; False where some frame of
    it has no such patch, or it is a single frame.
  """
  x = unit(jax.lax.stop_gradient(x))
  length = segment_sums(mask.any(-1), segments)[..., None]
  # The sum over pairs is |sum u|^2 - sum |u|^2.
  total = jnp.square(segment_sums(x, segments)).sum(-1)
  own = segment_sums(jnp.square(x).sum(-1), segments)
  pairs = jnp.maximum(length * (length - 1), 1)
  whole = segment_sums(mask, segments) == length
  return mask & whole & (length > 1) & ((total - own) / pairs > threshold)
