"""The default segmenter: superpixels of one frame, merged."""

import numpy as np

from trajvit.data.extract.graph_merge import graph_tracks

_MAX_MASKS = 128


def segment(frame: np.ndarray) -> np.ndarray:
  """Returns the regions of a frame; they do not overlap.

  Args:
    frame: [H, W, 3] uint8 RGB.

  Returns:
    [n, H, W] bool, n <= 128, the largest first.
  """
  labels = graph_tracks(frame[None], _MAX_MASKS)[0]
  area = np.bincount(labels[labels >= 0])
  return labels == np.argsort(-area, kind="stable")[:, None, None]
