"""Frames first, then a window of each of them, by scores that learn."""

import math

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.layers.token_scorer import ContextScorer
from trajvit.ops.perturbed import perturbed_top_k, top_k_indicator
from trajvit.ops.token_grid import on_grid, with_patches
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class Stts(Reducer):
  """Keeps the frames of highest score, and of each the best square window.

  One scorer reads the mean and the maximum of each frame. Another reads the
  patches of the frames that stay; windows that overlap, about nine of them, are
  scored by the mean of their patches. What is kept of a frame is a grid again.
  In training both choices are the mean of choices under noise
  (`ops.perturbed`), so that tokens are mixtures and the scorers learn; at
  inference they are hard.

  Source: STTS, arXiv:2111.11591, with frames chosen in front of the encoder and
  windows after 4 blocks; here both are chosen in one place, unless `frames` or
  `window` say that one of them keeps all. There the noise fades over training,
  here it does not: a reducer knows no step. Budgets are those of the tokens
  that really are in a window.

  Args:
    k: most slots afterwards, protected ones among them.
    grid: (T, h, w).
    width: D, at least 4.
    frames: how many stay; None shares what k cuts between time and space, or
      leaves all that fit if `window` is given. T keeps all.
    window: rows = columns of a window, cut to the grid; None is the largest
      that fits.
    sigma: of the noise, on scores that go from 0 to 1 in each clip or frame.
    samples: of the noise, see `ops.perturbed`.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: there are less than 1 or more than T frames, or no window.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    frames: int | None = None,
    window: int | None = None,
    sigma: float = 0.05,
    samples: int = 500,
    dtype=jnp.float32,
    rngs,
  ):
    if frames is not None and not 1 <= frames <= grid[0]:
      raise ValueError(f"frames must be in [1, {grid[0]}], got {frames}")
    if window is not None and window < 1:
      raise ValueError(f"window must be positive, got {window}")
    self.k, self.grid, self.frames, self.window = k, tuple(grid), frames, window
    self.noise = dict(sigma=sigma, samples=samples)
    options = dict(dtype=dtype, rngs=rngs)
    self.temporal = ContextScorer(2 * width, width, **options)
    self.spatial = ContextScorer(width, width, **options)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns what is no patch, and the windows of the kept frames.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: of the noise in training; None chooses without.

    Returns:
      P + F a a tokens in raster order, F frames and windows of a rows and
      columns, no more than k: with a key, features, positions and sizes are
      means over choices. Frames are those of highest score among the real ones,
      if too few are real masked ones follow. Aux: `frames` [B, F, T] and
      `windows` [B, F, R] float32, how often each was chosen; either is absent
      where all is kept.

    Raises:
      ValueError: frames and windows do not fit into k; what `on_grid` raises.
    """
    found, tokens = on_grid(tokens, self.grid), zero_masked(tokens)
    frames, (rows, columns) = self._budget(found.prefix)
    shape = (tokens.mask.shape[0], *self.grid, -1)
    cells = {
      "features": tokens.features,
      "positions": tokens.positions,
      "size": tokens.size[..., None],
      "mask": tokens.mask[..., None].astype(jnp.float32),
    }
    cells = {n: x[:, found.prefix :].reshape(shape) for n, x in cells.items()}
    keys = (None, None) if key is None else jax.random.split(key)
    aux = {}
    if frames < self.grid[0]:
      score, real = self._score_frames(cells)
      aux["frames"] = self._choose(score, real, frames, keys[0])
      cells = _mix(aux["frames"], _take_frames, cells)
    if (rows, columns) != self.grid[1:]:
      windows = _windows(self.grid[1:], (rows, columns))
      score, real = self._score_windows(cells, windows)
      flat = (-1, len(windows))
      chosen = self._choose(score.reshape(flat), real.reshape(flat), 1, keys[1])
      aux["windows"] = chosen.reshape(score.shape)
      cells = _mix(aux["windows"], lambda x, i: _cut(x, i, windows), cells)
    return with_patches(tokens, found.prefix, _as_tokens(cells)), aux

  def _budget(self, prefix):
    """How many frames, and (rows, columns) of their windows."""
    (frames, *sides), room = self.grid, self.k - prefix

    def size(window):
      return tuple(min(window, side) for side in sides)

    if self.frames is not None:
      frames = self.frames
    elif self.window is not None:
      frames = max(1, min(frames, room // math.prod(size(self.window))))
    else:
      share = min(1, max(0, room) / math.prod(self.grid))
      frames = max(1, int(frames * share**0.5))
    windows = range(max(sides), 0, -1) if self.window is None else [self.window]
    for window in windows:
      if frames * math.prod(size(window)) <= room:
        return frames, size(window)
    raise ValueError(
      f"{frames} frames with windows of {math.prod(size(windows[-1]))} patches "
      f"do not fit into k = {self.k} behind {prefix} tokens that are no patches"
    )

  def _score_frames(self, cells):
    """[B, T] float32 and bool."""
    x = cells["features"].astype(jnp.float32)
    mask = cells["mask"] > 0
    mean = x.sum((2, 3)) / jnp.maximum(mask.sum((2, 3)), 1)
    real = mask.any((2, 3))  # [B, T, 1]
    highest = jnp.where(mask, x, -jnp.inf).max((2, 3))
    highest = jnp.where(real, highest, 0)
    real = real[..., 0]
    joint = jnp.concatenate([mean, highest], axis=-1)
    return self.temporal(joint, real), real

  def _score_windows(self, cells, windows):
    """[B, F, R] float32 and bool."""
    x, mask = cells["features"], cells["mask"][..., 0] > 0
    flat = (*mask.shape[:2], -1)
    score = self.spatial(x.reshape(*flat, x.shape[-1]), mask.reshape(flat))
    score = jnp.where(mask, score.reshape(mask.shape), 0)

    def total(values):
      return jnp.stack([values[:, :, y, x].sum((2, 3)) for y, x in windows], -1)

    count = total(mask)
    return total(score) / jnp.maximum(count, 1), count > 0

  def _choose(self, score, mask, count, key):
    """[N, count, M], how often each of M is one of `count`."""
    low = jnp.where(mask, score, jnp.inf).min(1, keepdims=True)
    high = jnp.where(mask, score, -jnp.inf).max(1, keepdims=True)
    some = high > low
    spread = jnp.where(some, high - low, 1)
    score = jnp.where(some & mask, (score - low) / spread, 0)
    if key is None:
      return top_k_indicator(score, count, mask=mask)
    return perturbed_top_k(score, count, key=key, mask=mask, **self.noise)


def _windows(grid, size):
  """The slices of rows and columns of all windows, in raster order."""
  starts = [
    range(0, side - window + 1, max((side - window) // 2, 1))
    for side, window in zip(grid, size, strict=True)
  ]
  return [
    (slice(y, y + size[0]), slice(x, x + size[1]))
    for y in starts[0]
    for x in starts[1]
  ]


def _take_frames(x, indicator):
  """[B, T, h, w, c] and [B, F, T] to [B, F, h, w, c]."""
  highest = jax.lax.Precision.HIGHEST
  return jnp.einsum("bft,bthwc->bfhwc", indicator, x, precision=highest)


def _cut(x, indicator, windows):
  """[B, F, h, w, c] and [B, F, R] to [B, F, a, a, c]."""
  parts = (
    indicator[:, :, r, None, None, None] * x[:, :, rows, columns]
    for r, (rows, columns) in enumerate(windows)
  )
  return sum(parts)


def _mix(indicator, mix, cells):
  """Every array of `cells` mixed; the scores learn by the features alone."""
  fixed = jax.lax.stop_gradient(indicator)
  return {
    name: mix(x.astype(jnp.float32), indicator if name == "features" else fixed)
    for name, x in cells.items()
  }


def _as_tokens(cells):
  """Cells [B, F, a, a, c] as tokens; those never real are masked."""
  cells = {n: x.reshape(x.shape[0], -1, x.shape[-1]) for n, x in cells.items()}
  often = cells["mask"]
  return Tokens(
    features=cells["features"],
    mask=often[..., 0] > 0,
    positions=cells["positions"] / jnp.where(often > 0, often, 1),
    size=cells["size"][..., 0],
  )
