"""Scores of tubes: golden values, loops from the definition, properties."""

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trajvit.evaluators.tubes import MODES, overlaps, score, to_grid


def halves():
  """Ids of ten frames: top and bottom; of the bottom, the left half is found.

  An id of 0 is no tube, as in the files of the data sets.
  """
  truth = np.ones((10, 32, 32), int)
  truth[:, 16:] = 2
  predicted = truth.copy()
  predicted[:, 16:, 16:] = 0
  return predicted, truth


def quarters():
  truth = np.zeros((2, 4, 4), int)
  truth[:, :2], truth[:, 2:, :2] = 1, 2
  predicted = np.full((2, 4, 4), 4)
  predicted[:, :2, :3], predicted[:, :2, 3:], predicted[:, 2:, :2] = 1, 2, 3
  return predicted, truth


def test_golden_exactly_half_counts():
  predicted, truth = halves()
  for mode, labels in (
    ("standard", predicted - 1),
    ("trajtok_compat", predicted),
  ):
    found = score(labels, truth - 1, mode)
    assert (found.veq, found.sq, found.rq) == (0.75, 0.75, 1.0)
    assert found.stq_en == pytest.approx(0.75)


def test_golden_split_object():
  predicted, truth = quarters()
  for mode, labels in (
    ("standard", predicted - 1),
    ("trajtok_compat", predicted),
  ):
    found = score(labels, truth - 1, mode)
    assert (found.sq, found.rq) == pytest.approx((0.875, 2 / 3))
    assert found.veq == pytest.approx(0.5833333, abs=1e-7)
    assert found.aq == pytest.approx(0.8333333, abs=1e-7)
    assert found.stq_en == pytest.approx(0.853913, abs=1e-6)
    assert (found.matched, found.num_predicted, found.num_truth) == (2, 4, 2)


def test_golden_slot_zero_is_dropped():
  """The released code takes slot 0, the best tube here, for background."""
  predicted, truth = quarters()
  found = score(predicted - 1, truth - 1, "trajtok_compat")
  assert (found.veq, found.stq_en) == pytest.approx((0.4, 1.0))
  assert score(predicted - 1, truth - 1).veq == pytest.approx(0.5833333)


def test_objects_are_not_charged_with_the_background():
  """Tube 3 is half on object 2 and stays; more than half outside, it goes."""
  predicted, truth = quarters()
  found = score(predicted - 1, truth - 1, "standard_objects")
  assert (found.matched, found.num_predicted) == (2, 3)
  assert found.rq == pytest.approx(2 / 2.5)
  assert found.sq == pytest.approx(0.875)
  wider = truth.copy()
  wider[0, 2:, 2:] = 2  # half of tube 4, no more: it stays
  found = score(predicted - 1, wider - 1, "standard_objects")
  assert found.num_predicted == 4


def loop_score(predicted, truth, mode):
  """(VEQ, STQ_EN) as the definitions have it, on masks of whole clips."""
  dropped = {-1, 0} if mode == "trajtok_compat" else {-1}
  tubes = [predicted == i for i in sorted(set(predicted.flat) - dropped)]
  objects = [truth == i for i in sorted(set(truth.flat) - {-1})]
  if mode == "standard_objects":
    background = truth < 0
    tubes = [x for x in tubes if (x & background).sum() <= x.sum() / 2]
  iou = np.zeros((len(objects), len(tubes)))
  for g, thing in enumerate(objects):
    for p, tube in enumerate(tubes):
      iou[g, p] = (thing & tube).sum() / (thing | tube).sum()
  if mode == "trajtok_compat":
    cost = 1 - np.maximum(iou, 0.5)
  else:
    cost = np.where(iou >= 0.5, -iou, 0)
  pairs = [
    (g, p)
    for g, p in zip(*linear_sum_assignment(cost), strict=True)
    if iou[g, p] >= 0.5
  ]
  if not pairs:
    return 0.0, 0.0
  positives = len(pairs)
  misses = len(objects) - positives, len(tubes) - positives
  quality = sum(iou[pair] for pair in pairs) / positives
  both = sum((objects[g] & tubes[p]).sum() for g, p in pairs)
  either = sum((objects[g] | tubes[p]).sum() for g, p in pairs)
  recognition = positives / (positives + 0.5 * misses[0] + 0.5 * misses[1])
  return quality * recognition, math.sqrt(quality * both / either)


def scene(seed):
  """Blocky truth, and a prediction that agrees with it in some blocks."""
  rng = np.random.default_rng(seed)
  truth = rng.integers(-1, 3, (3, 2, 2))
  predicted = np.where(
    rng.random((3, 4, 4)) < 0.4,
    rng.integers(-1, 6, (3, 4, 4)),
    (truth + rng.integers(0, 3)).repeat(2, 1).repeat(2, 2),
  )
  return predicted, truth.repeat(2, 1).repeat(2, 2)


@pytest.mark.parametrize("mode", MODES)
def test_equals_the_loop(mode):
  seen = set()
  for seed in range(60):
    predicted, truth = scene(seed)
    found = score(predicted, truth, mode)
    expected = loop_score(predicted, truth, mode)
    assert (found.veq, found.stq_en) == pytest.approx(expected)
    seen.add(found.matched)
  assert len(seen) > 2


def test_compat_may_lose_an_exact_half():
  """An IoU of one half costs as much as one of zero there, and SciPy decides.

  It has the objects in rows: the other way round it would decide otherwise
  about some of these.
  """
  rng = np.random.default_rng(0)
  lost = 0
  for _ in range(300):
    truth = rng.integers(0, 4, 4).repeat(2).reshape(1, 1, 8)
    predicted = rng.integers(1, 6, (1, 1, 8))
    found = score(predicted, truth, "trajtok_compat")
    expected = loop_score(predicted, truth, "trajtok_compat")
    assert (found.veq, found.stq_en) == pytest.approx(expected)
    lost += score(predicted, truth).matched - found.matched
  assert lost > 20


@pytest.mark.parametrize("mode", ["standard", "standard_objects"])
def test_the_numbers_of_slots_do_not_matter(mode):
  rng = np.random.default_rng(1)
  for seed in range(10):
    predicted, truth = scene(seed)
    new = np.append(rng.permutation(20), -1)  # the last serves -1
    again = score(new[predicted], truth, mode)
    assert vars(again) == pytest.approx(vars(score(predicted, truth, mode)))


def test_compat_depends_on_which_slot_is_zero():
  predicted, truth = quarters()
  scores = {
    score((predicted + shift) % 4, truth - 1, "trajtok_compat").veq
    for shift in range(4)
  }
  assert len(scores) > 1


@pytest.mark.parametrize("mode", MODES)
def test_a_perfect_prediction_and_none(mode):
  _, truth = quarters()
  found = score(truth, truth - 1, mode)  # labels 1 and 2, and background 0
  perfect = score(np.where(truth > 0, truth, -1), truth - 1, mode)
  assert (perfect.veq, perfect.stq_en) == (1.0, 1.0)
  assert found.sq == 1.0
  assert (found.veq < 1) == (mode == "standard")
  for nothing in (np.full((2, 4, 4), -1), np.full((2, 4, 4), 9)):
    assert score(nothing, np.full((2, 4, 4), -1), mode).veq == 0.0
  assert score(np.full((2, 4, 4), -1), truth - 1, mode).stq_en == 0.0


def test_a_coarse_prediction_is_enlarged():
  """Cell i of 5 rows shows row floor(i * 2 / 5): 0 0 0 1 1."""
  coarse = np.array([[[0, 1], [2, 3]]])
  fine = to_grid(coarse, np.zeros((1, 5, 4), int))
  np.testing.assert_array_equal(fine[0, :, 0], [0, 0, 0, 2, 2])
  np.testing.assert_array_equal(fine[0, 0], [0, 0, 1, 1])
  assert score(coarse, fine) == score(fine, fine)


def test_overlaps_add_up():
  predicted, truth = scene(3)
  found = overlaps(predicted, truth)
  for p, label in enumerate(found.predicted_labels):
    for g, thing in enumerate(found.truth_labels):
      shared = ((predicted == label) & (truth == thing)).sum((1, 2))
      np.testing.assert_array_equal(found.shared[:, p, g], shared)
  np.testing.assert_array_equal(
    found.truth_area.sum(1), (truth >= 0).sum((1, 2))
  )
  kept = found.select(found.predicted_labels > 1)
  assert kept.predicted_labels.min() > 1
  assert kept.shared.shape[1] == kept.predicted_area.shape[1]


@pytest.mark.parametrize(
  ("predicted", "truth", "message"),
  [
    (np.zeros((2, 4, 4)), np.zeros((2, 4, 4), int), "integers, got float64"),
    (np.zeros((2, 4), int), np.zeros((2, 4, 4), int), r"got int64 \(2, 4\)"),
    (np.zeros((2, 4, 4), int), np.zeros((3, 4, 4), int), "got 2 and 3"),
  ],
)
def test_refuses_what_is_no_label_map(predicted, truth, message):
  with pytest.raises(ValueError, match=message):
    overlaps(predicted, truth)


def test_an_unknown_mode_lists_the_known():
  with pytest.raises(ValueError, match="standard, standard_objects, trajtok"):
    score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), "panoptic")
