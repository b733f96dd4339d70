"""Moves the picture under a clip: frames smoothly, tracks by nearest cell."""

import dataclasses
import math

import numpy as np
from PIL import Image

from trajvit.data.augment.footage import Footage, map_frames

_BORDER = (128, 128, 128)  # where the picture does not reach


def rotation(degrees: float) -> np.ndarray:
  """Returns the map [2, 3] of a turn about the middle; > 0 is anticlockwise."""
  angle = math.radians(degrees)
  cos, sin = math.cos(angle), math.sin(angle)
  return _about_the_middle([[cos, -sin], [sin, cos]])


def shear(x: float = 0.0, y: float = 0.0) -> np.ndarray:
  """Returns the map [2, 3] of a shear that leaves the middle where it is."""
  return _about_the_middle([[1, x], [y, 1]])


def translation(x: float = 0.0, y: float = 0.0) -> np.ndarray:
  """Returns the map [2, 3] of a shift to the left and up, in sides."""
  return np.array([[1, 0, x], [0, 1, y]])


def warp(footage: Footage, source: np.ndarray) -> Footage:
  """Returns footage moved by one map for all frames.

  Args:
    footage: with square frames.
    source: [2, 3], takes a point (x, y, 1) of the new picture to where it was
      in the old one; both are of side 1, x to the right, y down.

  Returns:
    The footage. What comes from outside is grey in the frames, -1 in tracks; a
    cell of tracks has the label of the cell that its centre was in.
  """
  size = footage.frames.shape[1]
  coefficients = (source * [1, 1, size]).ravel().tolist()

  def move(image):
    return image.transform(
      (size, size),
      Image.Transform.AFFINE,
      coefficients,
      Image.Resampling.BILINEAR,
      fillcolor=_BORDER,
    )

  frames = map_frames(footage.frames, move)
  tracks = footage.tracks
  if tracks is not None:
    tracks = _warp_tracks(tracks, source)
  return dataclasses.replace(footage, frames=frames, tracks=tracks)


def _warp_tracks(tracks, source):
  """Returns [T, g, g] with each cell's label taken from where it was."""
  grid = tracks.shape[1]
  centers = (np.arange(grid) + 0.5) / grid
  y, x = np.meshgrid(centers, centers, indexing="ij")
  points = source @ np.stack([x.ravel(), y.ravel(), np.ones(grid**2)])
  column, row = np.floor(grid * points).astype(np.int64)  # [g * g] each
  inside = (column >= 0) & (column < grid) & (row >= 0) & (row < grid)
  cells = np.where(inside, row * grid + column, 0)
  moved = tracks.reshape(len(tracks), -1)[:, cells]
  moved[:, ~inside] = -1
  return moved.reshape(tracks.shape)


def _about_the_middle(matrix) -> np.ndarray:
  matrix = np.array(matrix, float)
  middle = np.array([0.5, 0.5])
  return np.column_stack([matrix, middle - matrix @ middle])
