"""From labels of pixels to the tracks of an example."""

import numpy as np


def grid_tracks(labels: np.ndarray, grid: int, max_tracks: int):
  """Samples a label map on a grid and numbers its tracks compactly.

  Args:
    labels: [T, S, S] of any integer type, negative = no track.
    grid: g, cells a side; divides S.
    max_tracks: M, at least 1.

  Returns:
    tracks [T, g, g] int32: the M labels with the most cells, numbered from 0 by
    their first appearance in the clip (in raster order within a frame), -1
    elsewhere; and how many labels did not fit into M.
  """
  stride = labels.shape[1] // grid
  cells = labels[:, ::stride, ::stride]  # [T, g, g], the top left pixels
  found, first, where, area = np.unique(
    cells, return_index=True, return_inverse=True, return_counts=True
  )
  real = np.flatnonzero(found >= 0)
  real = real[np.argsort(first[real])]  # by first appearance
  largest = np.argsort(-area[real], kind="stable")[:max_tracks]
  kept = real[np.sort(largest)]
  number = np.full(len(found), -1, np.int32)
  number[kept] = np.arange(len(kept))
  return number[where].reshape(cells.shape), len(real) - len(kept)
