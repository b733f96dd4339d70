"""TESTA: whole frames merge first, and then patches, alike in all frames."""

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.bipartite import Pairs, match, plan_pairs, split_every
from trajvit.ops.matching_rounds import excess, merge_along, slots_of_rounds
from trajvit.ops.merging import Merging, merge, take_slots
from trajvit.ops.token_front import cut, rejoin
from trajvit.ops.token_grid import on_grid
from trajvit.ops.unit import unit
from trajvit.types import Tokens


class TESTA(Reducer):
  """Merges a clip to fewer frames of fewer patches, by the keys before it.

  Frames alternate between two sets. The patches of a frame vote for the one of
  the other set that it is to join, and the frames that are most alike join,
  each patch the one in its place. Then patches merge, by the mean of their keys
  over frames, so that what is in one place stays so in all frames: the result
  is a grid (frames, 1, (k - P) / frames) again, which another TESTA may read if
  that is a whole number.

  Source: TESTA, arXiv:2310.19060. There frames merge after the temporal and
  patches after the spatial attention of each block, and patches merge in each
  frame by themselves, though temporal attention goes on along their index. Its
  code rates a pair of frames by the mode of their patches' similarities, which
  of real numbers is the least; here it is the mean. Frames stay in order.

  Args:
    k: slots afterwards, P protected tokens among them; those that are not a
      multiple of `frames` are empty. A clip with padding has fewer tokens.
    grid: (T, h, w).
    frames: frames that are kept, in [1, T]; None is half of them, rounded up.

  Raises:
    ValueError: `frames` is out of range.
  """

  needs_block = True

  def __init__(
    self, *, k: int, grid: tuple[int, int, int], frames: int | None = None
  ):
    self.k, self.grid = k, tuple(grid)
    self.frames = (grid[0] + 1) // 2 if frames is None else frames
    if not 1 <= self.frames <= grid[0]:
      raise ValueError(f"frames must be in [1, {grid[0]}], got {frames}")

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns `frames` times (k - P) / frames tokens, t slowest; sizes add up.

    Aux: `overflow` [B] int32, tokens lost as no patch of their frame, or no
    frame of their patch, was real in another.

    Raises:
      ValueError: there are no patches of this grid, or k leaves a frame no slot
        or more than it has patches.
    """
    del key
    patches = on_grid(tokens, self.grid)
    count, cells = patches.mask.shape[1:]
    low, high = (patches.prefix + self.frames * n for n in (1, cells))
    if not low <= self.k <= high:
      raise ValueError(f"k must be in [{low}, {high}], got {self.k}")
    share = (self.k - patches.prefix) // self.frames
    front, rest = cut(tokens, patches.prefix)
    metric = jax.lax.stop_gradient(block.keys()[:, patches.prefix :])
    overflow = jnp.zeros(rest.mask.shape[0], jnp.int32)

    for slots in slots_of_rounds(count, self.frames):
      keys, mask = _as_grid(metric, count), _as_grid(rest.mask, count)
      real = mask.any(2)  # [B, T]
      plan = plan_pairs(
        frame_pairs(keys, mask),
        excess(real, self.frames),
        mask=real,
        slots=slots,
      )
      joined = plan.owner[:, :, None]
      at = jnp.where(joined < 0, -1, joined * cells + jnp.arange(cells))
      merging = _merging(at, rest.mask, slots * cells)
      metric = merge_along(metric, rest, merging)
      rest, overflow = merge(rest, merging), overflow + merging.overflow
      count = slots

    for slots in slots_of_rounds(cells, share):
      keys, mask = _as_grid(metric, count), _as_grid(rest.mask, count)
      real = mask.any(1)  # [B, n]
      seen = jnp.maximum(mask.sum(1), 1)[..., None]
      mean = jnp.where(mask[..., None], keys, 0).sum(1) / seen
      pairs = match(mean, split_every(real), mask=real)
      spare = excess(real, share)
      plan = plan_pairs(pairs, spare, mask=real, slots=slots)
      joined = plan.owner[:, None]
      frame = jnp.arange(count)[:, None]
      at = jnp.where(joined < 0, -1, frame * slots + joined)
      merging = _merging(at, rest.mask, count * slots)
      metric = merge_along(metric, rest, merging)
      rest, overflow = merge(rest, merging), overflow + merging.overflow
    return rejoin(front, rest, self.k), {"overflow": overflow}


def frame_pairs(keys: jax.Array, mask: jax.Array) -> Pairs:
  """Returns for every second frame the one that it would join.

  Args:
    keys: [B, T, n, d], what is compared by its cosine; masked ones are not
      read, and no gradient passes.
    mask: [B, T, n] bool; frames without a real patch join nothing.

  Returns:
    Pairs of frames, slots in [0, T).
  """
  keys = jax.lax.stop_gradient(jnp.where(mask[..., None], keys, 0))
  keys = unit(keys)
  split = split_every(mask.any(2))

  def frames(x, slots):
    return jnp.take_along_axis(
      x, slots.reshape(slots.shape + (1,) * (x.ndim - 2)), axis=1
    )

  cosine = jnp.einsum(
    "bsnd,bcnd->bnsc",
    frames(keys, split.sources),
    frames(keys, split.destinations),
    precision=jax.lax.Precision.HIGHEST,
  )
  sources, others = (
    jnp.swapaxes(frames(mask, slots), 1, 2)
    for slots in (split.sources, split.destinations)
  )
  both = sources[..., None] & others[:, :, None]  # [B, n, S, C]
  choice, score = vote(jnp.where(both, cosine, -jnp.inf))
  return Pairs(split, take_slots(split.destinations, choice), score)


def vote(cosine: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns what most patches of a frame are nearest to, and how near.

  Args:
    cosine: [B, n, S, C] of a patch in S frames with that in C others, -inf
      where it is missing in one of them.

  Returns:
    [B, S] int32 in [0, C), the lowest of equals, and [B, S] float32, the mean
    over patches of their highest cosine; -inf for a frame none of whose patches
    has any.
  """
  best, most = jnp.argmax(cosine, axis=-1), cosine.max(-1)  # [B, n, S]
  votes = most > -jnp.inf
  ballots = jax.nn.one_hot(best, cosine.shape[-1]) * votes[..., None]
  count = votes.sum(1)
  mean = jnp.where(votes, most, 0).sum(1) / jnp.maximum(count, 1)
  choice = jnp.argmax(ballots.sum(1), axis=-1).astype(jnp.int32)
  return choice, jnp.where(count > 0, mean, -jnp.inf)


def _as_grid(x, frames):
  """[B, T n, ...] to [B, T, n, ...]."""
  return x.reshape(x.shape[0], frames, -1, *x.shape[2:])


def _merging(at, mask, slots):
  """The plan by which cells go `at` [B, T, n] in [0, slots), or nowhere."""
  owner = jnp.where(mask, at.reshape(mask.shape), -1)
  member = owner[:, :, None] == jnp.arange(slots)  # [B, T n, slots]
  head = jnp.argmax(member, axis=1).astype(jnp.int32)
  held, lost = member.any(1), mask & (owner < 0)
  own = jnp.arange(mask.shape[1])
  leads = take_slots(head, jnp.maximum(owner, 0)) == own
  return Merging(
    owner=owner,
    head=head,
    mask=held,
    absorbed=mask & ~lost & ~leads,
    overflow=lost.sum(1, dtype=jnp.int32),
  )
