"""Anchors that take in the rest of their frame, and of the frames after it."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.shares import falling_rank
from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import grid_positions, on_grid
from trajvit.ops.transport import sinkhorn
from trajvit.ops.unit import unit
from trajvit.types import Tokens

# Entropy of a plan against its cost.
EPSILON = 0.1
ITERATIONS = 100
# Weight of the distance on the frame, a side of which is 1, beside 1 - cosine.
SPACE = 0.5
# Weight of an anchor's neighbourhood against what is transported to it.
NEIGHBORS = 0.1
# Frames after which a likeness counts little less than in the next one.
FADE = 1.5


class Aot(Reducer):
  """Moves what is pruned into anchors, by optimal transport.

  In every frame half of the anchors are those of the highest attention received
  in their tile, half those of the highest in the rest of the frame; the other
  patches are transported to them. Then frames go into windows: anchors of the
  later frames are transported to those of the first, but for the few that fit
  none of them best, which stay.

  Source: AOT. There the tiles read the attention of an earlier block, the plan
  within a frame is not normalised, so that an anchor takes in only one part in
  as many as there are anchors, and the anchors of the first frames are put out
  twice, before and after the transport between frames. The neighbourhood of an
  anchor is here what it is the nearest anchor of. No gradient passes to plans.

  Args:
    k: slots, those that are no patches among them. Windows of w frames leave
      A + (w - 1) floor(rest A) patches, with the largest A that fits.
    grid: (T, h, w).
    window: frames in a window; the last one may have fewer.
    rest: share of the anchors of a later frame that stay, 0.3 in the paper, and
      0.1 for long videos.
    tile: patches on a side of the tiles.

  Raises:
    ValueError: a window has fewer than 2 frames, a tile no patch, or `rest` is
      not in [0, 1].
  """

  needs_block = True

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    window: int = 4,
    rest: float = 0.3,
    tile: int = 9,
  ):
    if window < 2 or tile < 1 or not 0 <= rest <= 1:
      raise ValueError(
        "window must be at least 2, tile at least 1 and rest in [0, 1], got "
        f"{window}, {tile} and {rest}"
      )
    self.k, self.grid, self.window = k, tuple(grid), window
    self.rest, self.tile = Fraction(str(rest)), tile

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns anchors and what stays beside them, in raster order.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      block: the block that put them out.
      key: unused, nothing is drawn.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots they were in; `overflow`
      [B] int32, anchors of later frames whose window begins without any.

    Raises:
      ValueError: k leaves no slot for an anchor in every window, or exceeds N;
        or there are fewer than T h w tokens.
    """
    del key
    patches = on_grid(tokens, self.grid)
    anchors, stay = self._counts(patch_budget(self.k, patches))
    received = block.received()[:, patches.prefix :]
    salience = received.reshape(patches.mask.shape)
    anchor = self._anchors(salience, patches.mask, anchors)
    x = patches.features.astype(jnp.float32)
    size = patch_sizes(tokens, patches)
    x, size = self._within(x, size, patches.mask & ~anchor, anchor)
    x, size, kept, lost = self._between(x, size, anchor, stay)
    left, aux = survivors(
      tokens, patches, self.k, features=x, size=size, kept=kept
    )
    aux["overflow"] += lost
    return left, aux

  def _counts(self, budget: int) -> tuple[int, int]:
    """Anchors of a frame, and how many of a later frame stay."""
    frames, height, width = self.grid
    windows = -(-frames // self.window)
    for anchors in range(min(budget // windows, height * width), 0, -1):
      stay = int(anchors * self.rest)
      if anchors * windows + stay * (frames - windows) <= budget:
        return anchors, stay
    raise ValueError(
      f"{windows} windows of {self.window} frames need an anchor each, got "
      f"slots for {budget} patches"
    )

  def _anchors(self, salience, mask, count):
    """[B, T, n] bool, the anchors among the patches."""
    _, height, width = self.grid
    row, column = np.divmod(np.arange(height * width), width)
    tile = row // self.tile * -(-width // self.tile) + column // self.tile
    inside = (tile == np.arange(tile.max() + 1)[:, None]) & mask[..., None, :]
    rank = falling_rank(salience[..., None, :], inside)
    rank = jnp.where(inside, rank, 0).sum(-2)  # [B, T, n], in its tile
    # The best of all tiles come before the second best of any.
    order = jnp.lexsort((-salience, rank, ~mask), axis=-1)
    local = mask & (jnp.argsort(order, axis=-1) < count // 2)
    other = mask & ~local
    return local | other & (falling_rank(salience, other) < count - count // 2)

  def _within(self, x, size, rows, anchor):
    """Features and sizes, with those of a frame's `rows` in its anchors."""
    place = grid_positions((1, *self.grid[1:]))[:, 1:]
    space = np.linalg.norm(place[:, None] - place, axis=-1)
    cosine = _cosine(x, x)
    share = _shares(1 - cosine + SPACE * space, rows, anchor)
    moved, moved_size = _transported(share, x, size)
    near = jnp.where(anchor[..., None, :], cosine, -jnp.inf).argmax(-1)
    near = jax.nn.one_hot(near, x.shape[2]) * rows[..., None]
    around, _ = _transported(near, x, size)
    mixed = (1 - NEIGHBORS) * moved + NEIGHBORS * around
    x = jnp.where(anchor[..., None], mixed, x)
    return x, jnp.where(anchor, moved_size, size)

  def _between(self, x, size, anchor, stay):
    """Features and sizes, with those of later frames in the first of windows.

    Returns:
      Both, [B, T, n] bool what is left, and [B] int32 what went nowhere.
    """
    frames = x.shape[1]
    x, size, anchor = (self._windows(y) for y in (x, size, anchor))
    first, later = anchor[:, :, :1], anchor[:, :, 1:]
    distance = np.arange(1, self.window)[:, None, None]
    fade = -np.expm1(-(distance**2) / (2 * FADE**2))
    cosine = _cosine(x[:, :, 1:], x[:, :, :1])
    share = _shares((1 - cosine) * fade, later, first)  # [B, W, w - 1, n, n]
    stays = later & (falling_rank(-share.max(-1), later) < stay)
    moves = later & ~stays
    share = jnp.where(moves[..., None], share, 0)
    lost = (moves & (share.sum(-1) == 0)).sum((1, 2, 3), dtype=jnp.int32)
    # All later frames of a window go into its first at once.
    batch, windows, _, patches, width = x.shape
    rows = (batch, windows, (self.window - 1) * patches)
    mean, total = _transported(
      share.reshape(*rows, patches),
      x[:, :, 1:].reshape(*rows, width),
      size[:, :, 1:].reshape(rows),
      (x[:, :, 0], size[:, :, 0]),
    )
    x = jnp.concatenate([mean[:, :, None], x[:, :, 1:]], axis=2)
    size = jnp.concatenate([total[:, :, None], size[:, :, 1:]], axis=2)
    kept = jnp.concatenate([first, stays], axis=2)

    def back(y):
      return y.reshape(batch, -1, *y.shape[3:])[:, :frames]

    return back(x), back(size), back(kept), lost

  def _windows(self, x):
    """[B, T, ...] to [B, W, window, ...], zeros behind the last frame."""
    behind = -x.shape[1] % self.window
    x = jnp.pad(x, [(0, 0), (0, behind)] + [(0, 0)] * (x.ndim - 2))
    return x.reshape(x.shape[0], -1, self.window, *x.shape[2:])


def _cosine(x, y):
  """[..., M, K] of [..., M, D] and [..., K, D]."""
  return jax.lax.stop_gradient(unit(x) @ jnp.swapaxes(unit(y), -1, -2))


def _shares(cost, rows, columns):
  """[..., M, K] float32, where a row goes: sums of 1, or 0 where nowhere."""
  columns = jnp.broadcast_to(columns, rows.shape[:-1] + columns.shape[-1:])
  plan = sinkhorn(cost, rows, columns, epsilon=EPSILON, iterations=ITERATIONS)
  return plan / jnp.maximum(plan.sum(-1, keepdims=True), 1e-30)


def _transported(share, x, size, into=None):
  """Means of columns and what goes to them, and their sizes with it.

  Args:
    share: [..., M, K], of the rows.
    x: [..., M, D].
    size: [..., M].
    into: the same of the columns; None if rows and columns are one set.
  """
  to_x, to_size = (x, size) if into is None else into
  load = share.sum(-2)[..., None]
  moved = jnp.einsum("...mk,...md->...kd", share, x)
  mean = (to_x + moved) / (1 + load)
  return mean, to_size + jnp.einsum("...mk,...m->...k", share, size)
