"""J and F against loops over pixels, and who is matched with whom."""

import itertools
import math

import numpy as np
import pytest

from trajvit.evaluators.region_quality import (
  contour_accuracy,
  contours,
  dilate,
  match_objects,
  region_similarity,
)
from trajvit.evaluators.tubes import overlaps


def blobs(seed, shape=(3, 9, 12)):
  """Masks that are neither smooth nor noise; the first frame is empty."""
  rng = np.random.default_rng(seed)
  coarse = rng.random((shape[0], shape[1] // 3, shape[2] // 3)) < 0.5
  masks = coarse.repeat(3, 1).repeat(3, 2) ^ (rng.random(shape) < 0.05)
  masks[0] = False
  return masks


def loop_contour(mask):
  edge = np.zeros(mask.shape, bool)
  for y, x in np.ndindex(mask.shape):
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
      there = min(y + dy, len(mask) - 1), min(x + dx, len(mask[0]) - 1)
      edge[y, x] |= mask[there] != mask[y, x]
  return edge


def loop_accuracy(predicted, truth, radius):
  def share(points, others):
    if not points:
      return 1.0
    near = [
      any(math.dist(point, other) <= radius for other in others)
      for point in points
    ]
    return sum(near) / len(near)

  ours, theirs = (
    list(zip(*np.nonzero(loop_contour(mask)), strict=True))
    for mask in (predicted, truth)
  )
  precision, recall = share(ours, theirs), share(theirs, ours)
  if precision + recall == 0:
    return 0.0
  return 2 * precision * recall / (precision + recall)


def test_contours():
  masks = blobs(0)
  for mask, edge in zip(masks, contours(masks), strict=True):
    np.testing.assert_array_equal(edge, loop_contour(mask))
  assert not contours(np.ones((1, 4, 4), bool)).any()


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 20])
def test_dilation(radius):
  masks = np.random.default_rng(radius).random((2, 7, 9)) < 0.05
  expected = np.zeros(masks.shape, bool)
  for t, y, x in np.ndindex(masks.shape):
    expected[t, y, x] = any(
      math.hypot(y - i, x - j) <= radius
      for i, j in zip(*np.nonzero(masks[t]), strict=True)
    )
  np.testing.assert_array_equal(dilate(masks, radius), expected)


@pytest.mark.parametrize("seed", range(4))
def test_contour_accuracy_equals_the_loop(seed):
  predicted, truth = blobs(seed), blobs(seed + 1)
  predicted[1] = np.roll(truth[1], 1, 1)
  # The diagonal is 15, of which 0.008 is rounded up to one pixel.
  expected = [
    loop_accuracy(a, b, 1) for a, b in zip(predicted, truth, strict=True)
  ]
  np.testing.assert_allclose(contour_accuracy(predicted, truth), expected)
  assert expected[0] == 1.0  # both empty


def test_the_tolerance_grows_with_the_frame():
  """Edges five pixels apart: near at 480 x 854, where it is 8, else far."""
  for size, near in (((480, 854), 1.0), ((60, 100), 0.0)):
    truth = np.zeros((1, *size), bool)
    truth[:, :, :40] = True
    predicted = np.zeros((1, *size), bool)
    predicted[:, :, :45] = True
    assert contour_accuracy(predicted, truth) == [near]


def test_an_empty_mask_against_one_that_is_not():
  some = np.zeros((1, 8, 8), bool)
  some[:, 2:5, 2:5] = True
  assert contour_accuracy(some, np.zeros_like(some)) == [0.0]
  assert contour_accuracy(np.zeros_like(some), some) == [0.0]
  with pytest.raises(ValueError, match="must both be"):
    contour_accuracy(some, some[:, :4])


def test_similarity_equals_the_loop():
  rng = np.random.default_rng(0)
  predicted, truth = rng.integers(-1, 3, (2, 4, 3, 3))
  truth[2] = -1
  predicted[2] = np.where(predicted[2] == 0, 1, predicted[2])
  similarity = region_similarity(overlaps(predicted, truth))
  for p, g in itertools.product(range(3), range(3)):
    frames = []
    for a, b in zip(predicted == p, truth == g, strict=True):
      frames.append((a & b).sum() / (a | b).sum() if (a | b).any() else 1.0)
    assert similarity[p, g] == pytest.approx(np.mean(frames))
  assert similarity[0, 0] >= 0.25  # both absent in frame 2


def test_matching_is_the_best_of_all():
  for seed in range(20):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.integers(-1, 4, (2, 2, 3, 3))
    truth = np.minimum(truth, 2)
    found = overlaps(predicted, truth)
    tubes, similarity = match_objects(found)
    matrix = region_similarity(found)
    best = max(
      sum(matrix[p, g] for g, p in enumerate(rows))
      for rows in itertools.permutations(range(len(matrix)), len(tubes))
    )
    assert similarity.sum() == pytest.approx(best)
    np.testing.assert_allclose(similarity, matrix[tubes, np.arange(len(tubes))])


def test_an_object_without_a_tube_has_an_empty_one():
  """Two objects and one tube; the second object is absent half of the time."""
  truth = np.zeros((2, 2, 4), int)
  truth[0, :, 2:] = 1
  tubes, similarity = match_objects(overlaps(np.zeros_like(truth), truth))
  assert tubes.tolist() == [0, -1]
  np.testing.assert_allclose(similarity, [0.75, 0.5])
  tubes, similarity = match_objects(overlaps(np.full_like(truth, -1), truth))
  assert tubes.tolist() == [-1, -1]
  np.testing.assert_allclose(similarity, [0.0, 0.5])
