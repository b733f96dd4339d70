"""Hides one part of the picture in all frames: a rectangle, or patches."""

import dataclasses

import numpy as np

from trajvit.data.augment import color_maps
from trajvit.data.augment.footage import Footage
from trajvit.data.augment.ranges import (
  check_choice,
  check_integer,
  check_number,
)
from trajvit.data.example import ClipSpec


class TubeMask:
  """Hides one rectangle, or random patches, in the same place all the time.

  A rectangle is random erasing (arXiv:1708.04896) made constant over time,
  patches are the tubes of VideoMAE (arXiv:2203.12602). Hidden cells of tracks
  become -1.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    which: str = "rectangle",
    share: float = 0.2,
    p: float = 1.0,
    patch: int = 16,
    fill: str = "mean",
  ):
    """Checks the arguments.

    Args:
      clip: how clips look.
      which: "rectangle", of width over height log-uniform in 0.3 to 1 / 0.3,
        its sides whole track cells; or "patches".
      share: of the picture that is hidden, up to rounding to whole cells or
        patches; less where a rectangle that long does not fit.
      p: share of the clips of which something is hidden.
      patch: side of a patch in pixels: divides the size of the clip, and is
        divided by that of a track cell. A rectangle has none.
      fill: "mean", the mean colour of the clip; or "zero", black.

    Raises:
      ValueError: an argument is out of range.
    """
    check_choice("tube_mask.which", which, ("rectangle", "patches"))
    check_choice("tube_mask.fill", fill, ("mean", "zero"))
    check_number("tube_mask.share", share, 0, 1)
    check_number("tube_mask.p", p, 0, 1)
    check_integer("tube_mask.patch", patch, 1, 2**16)
    self._cell = clip.size // clip.track_grid
    if which == "patches" and (clip.size % patch or patch % self._cell):
      raise ValueError(
        f"tube_mask.patch must divide the {clip.size} pixels of a side and be "
        f"a multiple of the {self._cell} of a track cell, got {patch}"
      )
    self._grid, self._patch = clip.track_grid, patch
    self._which, self._share, self._p, self._fill = which, share, p, fill

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """See Step; frames and tracks change."""
    if rng.random() >= self._p:
      return footage
    if self._which == "rectangle":
      cells = draw_rectangle(self._grid, self._share, rng)
    else:
      patch = self._patch // self._cell  # in cells
      cells = draw_patches(self._grid // patch, self._share, rng)
      cells = cells.repeat(patch, 0).repeat(patch, 1)
    hidden = cells.repeat(self._cell, 0).repeat(self._cell, 1)
    hidden = hidden[..., None].repeat(3, 2)  # [H, W, 3]
    color = np.zeros(3, np.uint8)
    if self._fill == "mean":
      color = np.round(color_maps.mean_color(footage.frames)).astype(np.uint8)
    frames = np.where(hidden, hidden * color, footage.frames)
    tracks = footage.tracks
    if tracks is not None:
      tracks = np.where(cells, np.int32(-1), tracks)
    return dataclasses.replace(footage, frames=frames, tracks=tracks)


def draw_rectangle(
  grid: int, share: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns which of [grid, grid] cells a random rectangle covers, bool."""
  shape = np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))  # width over height
  height = min(grid, round(grid * np.sqrt(share / shape)))
  width = min(grid, round(grid * np.sqrt(share * shape)))
  top, left = rng.integers(grid - height + 1), rng.integers(grid - width + 1)
  cells = np.zeros((grid, grid), bool)
  cells[top : top + height, left : left + width] = True
  return cells


def draw_patches(
  grid: int, share: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns which of [grid, grid] patches are hidden, a share of them, bool."""
  hidden = np.zeros(grid * grid, bool)
  hidden[: round(share * grid * grid)] = True
  return rng.permutation(hidden).reshape(grid, grid)
