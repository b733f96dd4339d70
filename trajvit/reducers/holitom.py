"""Segments of time in which the most patches stand still, and their peaks."""

from fractions import Fraction

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.clustering import Clusters, density_peaks
from trajvit.ops.group_sums import cluster_sums, is_center, segment_sums
from trajvit.ops.shares import falling_rank, shares_by_count
from trajvit.ops.static_segments import static_segments
from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import on_grid
from trajvit.types import Tokens


class HoliTom(Reducer):
  """Folds static patches over time, then merges them, and prunes the others.

  A clip is cut so that folding static patches saves the most tokens, see
  `ops.static_segments`: each becomes the mean over its segment, in the
  segment's first frame. The budget is shared out over the static patches of
  every segment and the others of every frame, by their number. Static ones go
  into density peaks; of the others those of the highest attention received in
  the block before stay.

  Source: HoliTom, arXiv:2505.21334, on the output of an encoder. There every
  share is rounded by itself, which gives up to 2 T tokens more or less than
  asked for; here shares sum to the budget. Densities are without noise, of 7
  neighbours however few centres there are, and a centre that no token joins
  stays as it is.

  Args:
    k: slots, those that are no patches among them; all are filled if there are
      enough tokens.
    grid: (T, h, w).
    threshold: static patches have a higher cosine from frame to frame. The
      paper has 0.8, and 0.65 for a tenth of the tokens.
    own: weight of a centre against the mean of the others of its cluster.
    clustered: share of the slots of a frame's other patches that go to density
      peaks among those that are not kept.

  Raises:
    ValueError: a share is not in [0, 1].
  """

  needs_block = True

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    threshold: float = 0.8,
    own: float = 0.6,
    clustered: float = 0.0,
  ):
    if not (0 <= own <= 1 and 0 <= clustered <= 1):
      raise ValueError(
        f"own and clustered must be in [0, 1], got {own} and {clustered}"
      )
    self.k, self.grid, self.threshold = k, tuple(grid), threshold
    self.own, self.clustered = own, Fraction(str(clustered))

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns centres and what is kept at their places, in raster order.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      block: the block that put them out.
      key: unused, nothing is drawn.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots they were in, for static
      ones that in the first frame of the segment; `overflow` [B] int32,
      static patches of segments for which there was no slot; the metrics
      `segments` and `folded`, tokens saved by folding, both a clip.

    Raises:
      ValueError: k leaves no slot for patches, or exceeds N; or there are fewer
        than T h w tokens.
    """
    del key
    patches = on_grid(tokens, self.grid)
    budget = patch_budget(self.k, patches)
    mask, x = patches.mask, patches.features.astype(jnp.float32)
    real = mask.any(-1)
    similarity = jax.lax.stop_gradient(feature_similarity(x, mask))
    segments, _ = static_segments(similarity, real, threshold=self.threshold)

    # Static: real in every frame of a segment, and alike in all but the first.
    length = segment_sums(real, segments)[..., None]
    moves = ~mask | (similarity <= self.threshold) & ~segments.starts[..., None]
    still = segment_sums(moves, segments) == 0
    still = still & mask & (length > 1)  # [B, T, n]
    size = patch_sizes(tokens, patches)
    folded = still & segments.starts[..., None]
    mean = segment_sums(jnp.where(still[..., None], x, 0), segments)
    mean = mean / jnp.maximum(length, 1)[..., None]
    x = jnp.where(folded[..., None], mean, x)
    size = jnp.where(folded, segment_sums(size, segments), size)

    moving = mask & ~still
    groups = jnp.stack([folded, moving], axis=1).sum(-1)  # [B, 2, T]
    shares = shares_by_count(groups.reshape(groups.shape[0], -1), budget)
    still_share, moving_share = shares.reshape(groups.shape).transpose(1, 0, 2)
    most = min(budget, mask.shape[2])
    clusters = density_peaks(x, folded, most, counts=still_share)
    x, size, kept = self._merged(x, size, clusters)
    lost = (folded & (clusters.labels < 0)).sum((1, 2), dtype=jnp.int32)

    salience = block.received()[:, patches.prefix :].reshape(mask.shape)
    of_peaks = self._rounded(moving_share)
    rank = falling_rank(salience, moving)
    salient = moving & (rank < (moving_share - of_peaks)[..., None])
    kept = kept | salient
    if self.clustered:
      rest = density_peaks(x, moving & ~salient, most, counts=of_peaks)
      x, size, peaks = self._merged(x, size, rest)
      kept = kept | peaks
    left, aux = survivors(
      tokens, patches, self.k, features=x, size=size, kept=kept
    )
    numbers = {
      "segments": segments.starts.sum(-1),
      "folded": (still & ~segments.starts[..., None]).sum((1, 2)),
    }
    means = {name: y.mean(dtype=jnp.float32) for name, y in numbers.items()}
    aux["overflow"] += lost
    return left, aux | {"metrics": means}

  def _rounded(self, share: jax.Array) -> jax.Array:
    """The part of shares that goes to peaks, half of a token rounded down."""
    part = self.clustered
    return (2 * share * part.numerator + part.denominator - 1) // (
      2 * part.denominator
    )

  def _merged(
    self, x: jax.Array, size: jax.Array, clusters: Clusters
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features and sizes with those of the clusters at centres, and these."""
    center = is_center(clusters)
    others = jnp.where(center[..., None], 0, x)
    one = jnp.where(center, 0, 1)[..., None]
    # The others of a cluster, how many they are, and all the sizes.
    found = jnp.concatenate([others, one, size[..., None]], axis=-1)
    found = cluster_sums(found, clusters)
    total, count, sizes = found[..., :-2], found[..., -2:-1], found[..., -1]
    mixed = self.own * x + (1 - self.own) * total / jnp.maximum(count, 1)
    x = jnp.where(center[..., None] & (count > 0), mixed, x)
    return x, jnp.where(center, sizes, size), center
