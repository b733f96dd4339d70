"""Frames merged into the ones before them, in the middle of segments first."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity, previous_real
from trajvit.ops.merging import merge, plan_merging
from trajvit.ops.segments import similarity_segments
from trajvit.ops.token_grid import TokenGrid, on_grid
from trajvit.types import Tokens


class EarlyTom(Reducer):
  """Merges neighbouring frames until those that are left fit into k slots.

  A clip is cut where its frames, as means of their patches, are unlike the ones
  before. Inside a segment the most similar neighbours are merged again and
  again, patch by patch, with weights that are the frames they stand for. The
  first and the last frame of a segment are kept apart as long as there are
  others to merge, and segments are joined only where k leaves no choice, so
  that every clip comes out with as many frames as fit.

  Source: EarlyTom, which merges redundant middle frames early in the encoder;
  its thresholds and its criterion are not known to us, those here are our own.
  Its choice of tokens behind the encoder is left to other reducers.

  Args:
    k: most slots afterwards, protected ones among them.
    grid: (T, h, w).
    threshold: of the cosine of neighbouring frames, below which is a cut.
    min_segments: segments of a clip at least; None is a quarter of the frames.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    threshold: float = 0.9,
    min_segments: int | None = None,
  ):
    self.k, self.grid, self.threshold = k, tuple(grid), threshold
    self.min_segments = min_segments or max(1, grid[0] // 4)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns what is no patch, and the merged frames in raster order.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the merging is fixed.

    Returns:
      P + F h w tokens, F the number of frames that fit into k, at most T:
      features and positions are means by size, sizes are sums. Aux: `frame`
      [B, T] int32, the frame that each one is merged into.

    Raises:
      ValueError: k has no room for a frame; what `on_grid` and
        `similarity_segments` raise.
    """
    del key
    found = on_grid(tokens, self.grid)
    frames, height, columns = self.grid
    patches = height * columns
    room = min((self.k - found.prefix) // patches, frames)
    if room < 1:
      raise ValueError(
        f"k must hold the {patches} patches of a frame behind {found.prefix} "
        f"tokens that are no patches, got {self.k}"
      )
    owner = self._merge(found, room)
    target = _same_place(owner, found.mask) * patches + jnp.arange(patches)
    target = found.prefix + target.reshape(target.shape[0], -1)
    front = jnp.arange(found.prefix)
    front = jnp.broadcast_to(front, (target.shape[0], found.prefix))
    plan = plan_merging(
      jnp.concatenate([front, target], axis=1).astype(jnp.int32),
      tokens.mask,
      slots=found.prefix + room * patches,
      protected=tokens.protected,
    )
    return merge(tokens, plan), {"frame": owner}

  def _merge(self, found: TokenGrid, room):
    """[B, T] int32, the frame that each one ends up in."""
    real = found.mask.any(-1)  # [B, T]
    count = jnp.maximum(found.mask.sum(-1), 1)[..., None]
    mean = found.features.astype(jnp.float32).sum(2) / count
    mean = jax.lax.stop_gradient(mean)  # [B, T, D]
    segment = similarity_segments(
      feature_similarity(mean, real),
      real,
      threshold=self.threshold,
      max_segments=self.grid[0],
      min_segments=min(self.min_segments, self.grid[0]),
    ).ids
    own = jnp.broadcast_to(jnp.arange(self.grid[0]), real.shape)
    state = Frames(mean, count[..., 0] * real, real, _ends(segment), own)
    steps = self.grid[0] - room
    state = jax.lax.fori_loop(
      0, steps, lambda _, state: merge_two(state, segment, room), state
    )
    return state.owner.astype(jnp.int32)


class Frames(NamedTuple):
  """Frames on their way to fewer; what was merged is in its first frame.

  Attributes:
    feature: [B, T, D] float32.
    weight: [B, T], patches it stands for.
    alive: [B, T] bool, the first frames of what was merged.
    end: [B, T] bool, whether an end of a segment is in it.
    owner: [B, T] int, the frame that each one is in.
  """

  feature: jax.Array
  weight: jax.Array
  alive: jax.Array
  end: jax.Array
  owner: jax.Array


def merge_two(state: Frames, segment: jax.Array, room: int) -> Frames:
  """Returns the frames after the next two neighbours of a clip have merged.

  Args:
    state: the frames.
    segment: [B, T] int32.
    room: clips with no more frames than this are left as they are.
  """
  slots = jnp.arange(segment.shape[1])
  held, some = previous_real(
    jnp.broadcast_to(slots, segment.shape), state.alive
  )

  def before(x):
    return jnp.take_along_axis(x, held, axis=1)

  same = segment == before(segment)
  inner = same & ~state.end & ~before(state.end)
  # Steps of 3 keep the three kinds of pairs, which a cosine orders, apart.
  score = (
    3.0 * same + 3.0 * inner + feature_similarity(state.feature, state.alive)
  )
  score = jnp.where(state.alive & some, score, -jnp.inf)
  pick = jnp.argmax(score, axis=1)[:, None]  # [B, 1]
  onto = jnp.take_along_axis(held, pick, axis=1)
  wanted = (state.alive.sum(1) > room)[:, None]
  gone, grown = (wanted & (slots == at) for at in (pick, onto))

  # What is gone and what it joins, the only two that weigh here.
  share = jnp.where(gone | grown, state.weight, 0)
  total = share.sum(1, keepdims=True)
  mean = (share / jnp.maximum(total, 1))[..., None] * state.feature
  mean = mean.sum(1, keepdims=True)
  end = ((gone | grown) & state.end).any(1, keepdims=True)
  return Frames(
    feature=jnp.where(grown[..., None], mean, state.feature),
    weight=jnp.where(grown, total, state.weight),
    alive=state.alive & ~gone,
    end=jnp.where(grown, end, state.end),
    owner=jnp.where(wanted & (state.owner == pick), onto, state.owner),
  )


def _ends(segment):
  """[..., T] bool, the first and the last frame of every segment."""
  real = segment >= 0
  same = (segment[..., :, None] == segment[..., None, :]) & real[..., None]
  after = jnp.triu(jnp.ones(same.shape[-2:], bool), 1)
  last = ~(same & after).any(-1)
  first = ~(same & after.T).any(-1)
  return real & (first | last)


def _same_place(owner, mask):
  """[B, T, n], the first frame that each one is merged with, patch by patch.

  Frames without a real patch there do not count.
  """
  frames = jnp.arange(owner.shape[1])
  together = owner[:, :, None] == owner[:, None]  # [B, T, T]
  found = together[..., None] & mask[:, None]  # [B, T, T, n]
  first = jnp.argmax(found, axis=2)
  return jnp.where(mask, first, frames[:, None])
