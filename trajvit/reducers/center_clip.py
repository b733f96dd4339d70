"""The medoids of segments of frames."""

import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.clustering import kmedoids
from trajvit.ops.distances import cosine_distances, euclidean_distances
from trajvit.ops.merging import merge, plan_merging
from trajvit.ops.selection import select_marked
from trajvit.ops.token_grid import on_grid
from trajvit.types import Tokens

DISTANCES = {"euclidean": euclidean_distances, "cosine": cosine_distances}
AGGREGATES = ("medoid", "mean")


class CenterClip(Reducer):
  """Keeps the tokens in the middle of the clusters of every few frames.

  Frames that follow each other form a segment, its patches are clustered by
  k-medoids, which start from the token of the largest norm, and only the
  medoids go on. Source: CenterCLIP, arXiv:2205.00823, in the middle of the
  encoder, with 2 to 4 frames a segment. There each segment lives on as a frame
  of its own, with the mean of its frames' class tokens; here all tokens of a
  clip meet, and there is one class token.

  Args:
    k: tokens kept, protected ones among them. The others are shared out evenly
      over segments, the first ones getting one more where they do not divide.
    grid: (T, h, w).
    segment_frames: frames of a segment; the last one may have fewer.
    distance: "euclidean" or "cosine".
    aggregate: "medoid" leaves medoids as they are, "mean" puts the mean of the
      cluster by size in their place.
    iterations: turns of k-medoids; converged ones stand still.

  Raises:
    ValueError: an unknown distance or aggregate, or no frame in a segment.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    segment_frames: int = 2,
    distance: str = "euclidean",
    aggregate: str = "medoid",
    iterations: int = 20,
  ):
    if distance not in DISTANCES:
      raise ValueError(
        f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}"
      )
    if aggregate not in AGGREGATES:
      raise ValueError(
        f"aggregate must be one of {AGGREGATES}, got {aggregate!r}"
      )
    if segment_frames < 1:
      raise ValueError(f"segment_frames must be positive, got {segment_frames}")
    self.k, self.grid, self.segment_frames = k, tuple(grid), segment_frames
    self.distance, self.aggregate = distance, aggregate
    self.iterations = iterations

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the medoids, or the means at their places, in raster order.

    A segment with fewer real patches than its share keeps them all.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the clusters are fixed.

    Returns:
      k tokens. Aux: `target` [B, N] int32, the slot of the medoid whose cluster
      a token is in, its own if it is no patch or masked.

    Raises:
      ValueError: nothing is left for some segment, or more than it has patches;
        what `on_grid` raises.
    """
    del key
    found = on_grid(tokens, self.grid)
    target = self._targets(found)
    slots = jnp.arange(tokens.mask.shape[1])
    target = jnp.pad(target, ((0, 0), (found.prefix, 0)))
    stays = ~tokens.mask | (slots < found.prefix)
    target = jnp.where(stays, slots, target).astype(jnp.int32)
    if self.aggregate == "mean":
      plan = plan_merging(
        target, tokens.mask, slots=self.k, protected=tokens.protected
      )
      return merge(tokens, plan), {"target": target}
    kept, _, _ = select_marked(tokens, target == slots, self.k)
    return kept, {"target": target}

  def _targets(self, found):
    """[B, T h w] int32, the slot among all of the medoid of each patch."""
    batch, frames, patches, width = found.features.shape
    segments = -(-frames // self.segment_frames)
    spare = (0, segments * self.segment_frames - frames)
    cells = self.segment_frames * patches
    features = jnp.pad(found.features, ((0, 0), spare, (0, 0), (0, 0)))
    features = features.reshape(batch, segments, cells, width)
    mask = jnp.pad(found.mask, ((0, 0), spare, (0, 0)))
    mask = mask.reshape(batch, segments, cells)

    share, more = divmod(self.k - found.prefix, segments)
    if share < 1:
      raise ValueError(
        f"k must leave each of the {segments} segments a token, behind "
        f"{found.prefix} that are no patches, got {self.k}"
      )
    # The first segments have one cluster more than the others.
    parts = ((slice(0, more), share + 1), (slice(more, segments), share))
    targets = [
      self._cluster(features[:, part], mask[:, part], count)
      for part, count in parts
      if part.start < part.stop
    ]
    start = found.prefix + jnp.arange(segments)[:, None] * cells
    targets = jnp.concatenate(targets, axis=1) + start
    return targets.reshape(batch, -1)[:, : frames * patches]

  def _cluster(self, features, mask, count):
    """[B, S, N, D] to [B, S, N], the medoids that tokens join."""
    norm = jnp.linalg.norm(features.astype(jnp.float32), axis=-1)
    first = jnp.argmax(jnp.where(mask, norm, -1), axis=-1)
    distances = DISTANCES[self.distance](features)
    turns = self.iterations
    return kmedoids(distances, mask, count, first, iterations=turns).target
