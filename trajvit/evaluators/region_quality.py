"""Region similarity J and contour accuracy F of predicted tubes.

Both are measured frame by frame. Source: the DAVIS benchmark (Perazzi et al.,
CVPR 2016; for several objects arXiv:1704.00675; for predictions that name no
objects arXiv:1905.00737). DAVIS leaves out the first and the last frame where
a model was given the first; here every frame counts.
"""

import math

import numpy as np

from trajvit.evaluators.pairing import best_pairs
from trajvit.evaluators.tubes import Overlaps

CONTOUR_TOLERANCE = 0.008  # of the diagonal of a frame


def region_similarity(found: Overlaps) -> np.ndarray:
  """Returns J of every predicted tube and object, [P, G] float64 in [0, 1].

  J is the IoU of their masks in a frame, averaged over the frames; where both
  are absent it is 1.
  """
  union = found.predicted_area[:, :, None] + found.truth_area[:, None]
  union = union - found.shared  # [T, P, G]
  similarity = np.where(union, found.shared / np.maximum(union, 1), 1.0)
  return similarity.mean(0)


def match_objects(found: Overlaps) -> tuple[np.ndarray, np.ndarray]:
  """Gives every object a predicted tube of its own, for the largest sum of J.

  (DAVIS maximises the mean of J and F, which would take the contours of all
  pairs.) Objects that are left over when there are fewer tubes are compared
  with an empty tube.

  Returns:
    [G] int64, the row of each object's tube in `found`, -1 = the empty one;
    and [G] float64, J of these pairs.
  """
  similarity = region_similarity(found)  # [P, G]
  num_tubes, num_objects = similarity.shape
  empty = (found.truth_area == 0).mean(0)  # [G]
  spare = max(num_objects - num_tubes, 0)
  rows = np.concatenate([similarity, np.tile(empty, (spare, 1))])
  objects, tubes = best_pairs(-rows.T)
  return np.where(tubes < num_tubes, tubes, -1), rows[tubes, objects]


def contour_accuracy(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Returns F of two masks in every frame.

  F is the harmonic mean of precision, the share of the predicted contour that
  is within 0.008 diagonals (rounded up to whole pixels) of the true one, and
  recall, the reverse. Two empty contours have 1, one alone 0.

  Args:
    predicted: [T, H, W] bool.
    truth: [T, H, W] bool.

  Returns:
    [T] float64 in [0, 1].

  Raises:
    ValueError: the shapes differ.
  """
  if predicted.ndim != 3 or predicted.shape != truth.shape:
    raise ValueError(
      f"masks must both be [T, H, W], got {predicted.shape} and {truth.shape}"
    )
  radius = math.ceil(CONTOUR_TOLERANCE * math.hypot(*truth.shape[1:]))
  ours, theirs = contours(predicted), contours(truth)
  precision = _share_near(ours, theirs, radius)
  recall = _share_near(theirs, ours, radius)
  total = precision + recall
  return 2 * precision * recall / np.where(total, total, 1)


def contours(masks: np.ndarray) -> np.ndarray:
  """Returns the pixels of [T, H, W] masks that differ from a later neighbour.

  Later is to the right, below, or both; the frame has no contour of its own.
  """
  edge = np.pad(masks, ((0, 0), (0, 1), (0, 1)), mode="edge")
  return (
    (masks != edge[:, :-1, 1:])
    | (masks != edge[:, 1:, :-1])
    | (masks != edge[:, 1:, 1:])
  )


def dilate(masks: np.ndarray, radius: int) -> np.ndarray:
  """Returns the pixels of [T, H, W] within `radius` of one that is True."""
  height, width = masks.shape[1:]
  padded = np.pad(masks, ((0, 0), (radius, radius), (radius + 1, radius)))
  before = padded.cumsum(2, dtype=np.int32)  # True pixels up to each column
  near = np.zeros(masks.shape, bool)
  for dy in range(-radius, radius + 1):
    rows = slice(radius + dy, radius + dy + height)
    reach = math.isqrt(radius * radius - dy * dy)
    first, last = radius - reach, radius + reach + 1
    near |= (
      before[:, rows, last : last + width]
      > before[:, rows, first : first + width]
    )
  return near


def _share_near(contour, other, radius) -> np.ndarray:
  """Share of a contour's pixels that are near another contour, [T].

  Without pixels that is 1, as nothing is wrong with them.
  """
  count = contour.sum((1, 2))
  near = (contour & dilate(other, radius)).sum((1, 2))
  return np.where(count, near / np.maximum(count, 1), 1.0)
