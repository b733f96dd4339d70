"""Clips whose frames stand in another order, or of which one alone is left."""

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np

from trajvit.types import Batch

# Places of the real frames [R], a generator -> which frame stands at each [R].
Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Reordered:
  """A loader whose evaluation shows the same clips in another order of frames.

  Tracks go with their frames; times and padding stay. A layout is left out: it
  was planned for other clips.

  Attributes:
    views: of the loader.
  """

  def __init__(self, loader, order: Order, *, seed: int = 0):
    """Takes the loader; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo).
      order: what becomes of the real frames of a clip.
      seed: of its generator, which is drawn from clip by clip.
    """
    self._loader, self._order, self._seed = loader, order, seed
    self.views = getattr(loader, "views", 1)

  def evaluate(self):
    """Yields (Batch, BatchInfo), see `data.loader.Loader.evaluate`.

    Raises:
      ValueError: clips have one frame.
    """
    rng = np.random.default_rng(self._seed)
    with contextlib.closing(self._loader.evaluate()) as batches:
      for batch, info in batches:
        yield reorder(batch, self._order, rng), info


def reorder(batch: Batch, order: Order, rng: np.random.Generator) -> Batch:
  """Returns a batch with its real frames, and their tracks, in another order.

  Args:
    batch: on the host.
    order: see `Reordered`.
    rng: that `order` draws from.

  Raises:
    ValueError: clips have one frame.
  """
  clip = batch.clip
  shape = clip.frames.shape[:2]
  if shape[1] < 2:
    raise ValueError("an order takes clips of 2 frames or more, got 1")
  mask = clip.frame_mask
  mask = np.ones(shape, bool) if mask is None else np.asarray(mask)
  index = np.tile(np.arange(shape[1]), (shape[0], 1))  # [B, T]
  for places, real in zip(index, mask, strict=True):
    found = np.flatnonzero(real)
    if len(found):
      places[found] = order(found, rng)
  rows = np.arange(shape[0])[:, None]
  frames, tracks = (
    None if x is None else np.asarray(x)[rows, index]
    for x in (clip.frames, clip.tracks)
  )
  clip = dataclasses.replace(clip, frames=frames, tracks=tracks)
  return dataclasses.replace(batch, clip=clip, layout=None)


def backwards(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns the last frame first."""
  del rng
  return places[::-1]


def shuffled(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns the frames in an order drawn for this clip."""
  return rng.permutation(places)


def middle_only(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns the middle frame at every place."""
  del rng
  return np.full(len(places), places[len(places) // 2])
