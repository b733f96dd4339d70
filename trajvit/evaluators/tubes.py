"""Tubes: label maps of whole clips compared as volumes in space and time.

A tube is all cells of a clip that carry one label. Labels count from 0, and -1
is no tube, as everywhere in this codebase. Sources: VEQ and STQ_EN as TrajTok
reports them (its published evaluation code), after panoptic quality
(arXiv:1801.00868) and STQ (arXiv:2102.11859).

There are three ways to count, told apart by name. In all of them a pair of a
predicted and a true tube can match where their IoU over the clip is at least
one half, pairs are one to one, and cells that the truth leaves unlabelled
(background, and what the annotators marked as void) stay in the volume of the
predicted tubes that lie on them.

  standard          Every label from 0 on is a tube. The pairs are those of the
                    largest sum of IoUs, which settles VEQ, SQ and RQ: nothing
                    depends on the numbers of slots.
  standard_objects  The same without the predicted tubes of which more than
                    half lies where the truth has no object: a model that
                    groups the background too is not charged for it. (Such a
                    tube has an IoU below one half with every object, so no
                    match is lost.)
  trajtok_compat    The released numbers, with their flaw: slot 0 is taken for
                    "nothing" and its tube dropped. Below the threshold all
                    pairs cost the same as a pair with an IoU of one half, so
                    that the latter may lose to one that does not count; true
                    tubes are the rows, and ties fall as in SciPy.
"""

import dataclasses
import math

import numpy as np

from trajvit.data.transforms import nearest_indices
from trajvit.evaluators.pairing import best_pairs

IOU_THRESHOLD = 0.5
MODES = ("standard", "standard_objects", "trajtok_compat")


@dataclasses.dataclass(frozen=True)
class Overlaps:
  """What P predicted and G true tubes have in common.

  Attributes:
    predicted_labels: [P] the labels of the predicted tubes, ascending.
    truth_labels: [G] those of the true ones.
    shared: [T, P, G] int64, cells in both, frame by frame.
    predicted_area: [T, P] int64, cells of a predicted tube.
    truth_area: [T, G] int64, cells of a true tube.
  """

  predicted_labels: np.ndarray
  truth_labels: np.ndarray
  shared: np.ndarray
  predicted_area: np.ndarray
  truth_area: np.ndarray

  def select(self, keep: np.ndarray) -> "Overlaps":
    """Returns the overlaps of the predicted tubes where `keep` [P] is True."""
    return dataclasses.replace(
      self,
      predicted_labels=self.predicted_labels[keep],
      shared=self.shared[:, keep],
      predicted_area=self.predicted_area[:, keep],
    )

  def volumes(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns intersection and union over the clip, [P, G] int64 each."""
    intersection = self.shared.sum(0)
    predicted, truth = self.predicted_area.sum(0), self.truth_area.sum(0)
    return intersection, predicted[:, None] + truth - intersection


@dataclasses.dataclass(frozen=True)
class TubeScore:
  """How well the tubes of a clip match; every number but the counts in [0, 1].

  Attributes:
    veq: SQ * RQ.
    sq: mean IoU of the matched pairs, 0 without one.
    rq: matched / (matched + (unmatched predicted + unmatched true) / 2).
    stq_en: sqrt(SQ * AQ). What is unmatched does not count.
    aq: the matched pairs' intersections over their unions, each summed first.
    matched: how many pairs match.
    num_predicted: predicted tubes that take part.
    num_truth: true tubes.
  """

  veq: float
  sq: float
  rq: float
  stq_en: float
  aq: float
  matched: int
  num_predicted: int
  num_truth: int


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> Overlaps:
  """Returns the overlaps of two label maps of a clip.

  Args:
    predicted: [T, h, w] integers, negative = no tube; brought to the grid of
      the truth, each cell taking the source cell floor(i * in / out).
    truth: [T, H, W] integers, negative = no object.

  Raises:
    ValueError: not label maps of equally many frames.
  """
  predicted = to_grid(predicted, truth)
  predicted_labels, rows = np.unique(predicted, return_inverse=True)
  truth_labels, columns = np.unique(truth, return_inverse=True)
  shape = len(truth), len(predicted_labels), len(truth_labels)
  frame = np.arange(shape[0])[:, None, None]
  cell = frame * shape[1] + rows.reshape(predicted.shape)
  cell = cell * shape[2] + columns.reshape(truth.shape)
  counts = np.bincount(cell.ravel(), minlength=math.prod(shape)).reshape(shape)
  tubes, objects = predicted_labels >= 0, truth_labels >= 0
  return Overlaps(
    predicted_labels=predicted_labels[tubes],
    truth_labels=truth_labels[objects],
    shared=counts[:, tubes][:, :, objects],
    predicted_area=counts.sum(2)[:, tubes],
    truth_area=counts.sum(1)[:, objects],
  )


def to_grid(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Returns `predicted` [T, h, w] sampled on the grid of `truth` [T, H, W].

  Raises:
    ValueError: not label maps of equally many frames.
  """
  for name, labels in ("predicted", predicted), ("truth", truth):
    if labels.ndim != 3 or labels.dtype.kind not in "iu" or not labels.size:
      raise ValueError(
        f"{name} must be [T, H, W] integers, got {labels.dtype} {labels.shape}"
      )
  if len(predicted) != len(truth):
    raise ValueError(
      f"predicted and truth must have equally many frames, got "
      f"{len(predicted)} and {len(truth)}"
    )
  rows = nearest_indices(predicted.shape[1], truth.shape[1])
  columns = nearest_indices(predicted.shape[2], truth.shape[2])
  return predicted[:, rows[:, None], columns]


def score(
  predicted: np.ndarray, truth: np.ndarray, mode: str = "standard"
) -> TubeScore:
  """Returns the score of one clip's predicted tubes.

  Args:
    predicted: [T, h, w] integers, negative = no tube, see `overlaps`.
    truth: [T, H, W] integers, negative = no object.
    mode: one of MODES, see above.

  Raises:
    ValueError: an unknown mode, or not such label maps.
  """
  return score_overlaps(overlaps(predicted, truth), mode)


def score_overlaps(found: Overlaps, mode: str = "standard") -> TubeScore:
  """Returns the `score` of label maps that were compared before.

  Raises:
    ValueError: an unknown mode.
  """
  if mode not in MODES:
    raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
  found = found.select(_takes_part(found, mode))
  intersection, union = found.volumes()
  iou = intersection / np.maximum(union, 1)  # [P, G]
  matches = iou >= IOU_THRESHOLD
  if mode == "trajtok_compat":
    truth, predicted = best_pairs(1 - np.maximum(iou, IOU_THRESHOLD).T)
  else:
    predicted, truth = best_pairs(-np.where(matches, iou, 0))
  pairs = predicted, truth
  pairs = tuple(side[matches[pairs]] for side in pairs)

  matched, (num_predicted, num_truth) = len(pairs[0]), iou.shape
  counts = dict(
    matched=matched, num_predicted=num_predicted, num_truth=num_truth
  )
  if not matched:
    return TubeScore(0.0, 0.0, 0.0, 0.0, 0.0, **counts)
  sq = float(iou[pairs].mean())
  rq = 2 * matched / (num_predicted + num_truth)
  aq = float(intersection[pairs].sum() / union[pairs].sum())
  return TubeScore(sq * rq, sq, rq, math.sqrt(sq * aq), aq, **counts)


def _takes_part(found: Overlaps, mode: str) -> np.ndarray:
  """Returns which predicted tubes count at all, [P] bool."""
  if mode == "trajtok_compat":
    return found.predicted_labels != 0
  if mode == "standard_objects":
    on_objects = found.shared.sum((0, 2))
    return 2 * on_objects >= found.predicted_area.sum(0)
  return np.ones(len(found.predicted_labels), bool)
