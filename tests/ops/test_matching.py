import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trajvit.ops import matching
from trajvit.ops.matching import (
  match_slots,
  number_labels,
  overlap_counts,
  resize_labels,
)

match = jax.jit(match_slots, static_argnames="count_unlabelled")


@pytest.mark.parametrize(
  "size, cells, seen",
  [(8, 2, [0, 4]), (10, 4, [0, 2, 5, 7]), (2, 4, [0, 0, 1, 1])],
)
def test_a_cell_shows_what_is_at_its_top_left_corner(size, cells, seen):
  labels = np.arange(size * size).reshape(1, 1, size, size)
  got = resize_labels(labels, (cells, cells))
  np.testing.assert_array_equal(got[0, 0], labels[0, 0][np.ix_(seen, seen)])


def test_another_aspect_ratio_is_refused():
  with pytest.raises(ValueError, match="8 x 4 cells .* 4 x 4"):
    resize_labels(np.zeros((1, 1, 8, 4)), (4, 4))


def test_labels_are_numbered_by_their_first_cell():
  labels = [[[-1, 1], [0, 0]], [[1, 1], [-1, 2]]]
  got, count = number_labels(np.asarray([labels]), 4)
  np.testing.assert_array_equal(got.ravel(), [-1, 0, 1, 1, 0, 0, -1, 2])
  assert got.dtype == jnp.int32 and count.tolist() == [3]


def test_numbers_equal_a_loop_for_any_ids(rng):
  ids = rng.choice(10**9, 12, replace=False)
  labels = ids[rng.integers(0, 12, (3, 2, 4, 5))]
  labels[rng.random(labels.shape) < 0.4] = -7
  labels[1] = -1
  got, count = jax.jit(lambda x: number_labels(x, 6))(labels)
  for b, clip in enumerate(labels):
    number = {}
    for cell, new in zip(clip.ravel(), np.ravel(got[b]), strict=True):
      number.setdefault(cell, len(number)) if cell >= 0 else None
      rank = number.get(cell, -1)
      assert new == (rank if rank < 6 else -1)
    assert count[b] == len(number)
  assert count[0] > 6 and count[1] == 0


@pytest.fixture
def maps(rng):
  """Labels with ignored pixels and predictions with some that are none."""
  labels = rng.integers(-1, 5, (3, 2, 4, 5))
  prediction = rng.integers(-1, 6, labels.shape)
  labels[labels == 4] = -1  # a label without a pixel
  return labels, prediction


def loop_counts(labels, prediction, num_slots):
  counts = np.zeros((len(labels), num_slots + 1, num_slots))
  for at in np.ndindex(labels.shape):
    if prediction[at] >= 0:
      counts[at[0], labels[at], prediction[at]] += 1  # -1 is the last row
  return counts


@pytest.mark.parametrize("how", ["default", "adding", "products"])
def test_counts_equal_a_loop(maps, how, monkeypatch):
  monkeypatch.setattr(matching, "CHUNK", 7)  # neither divides 40 nor covers it
  expected = loop_counts(*maps, 6)
  if how == "default":
    got = overlap_counts(*maps, 6)
  else:
    rows, columns = (x.reshape(3, -1) for x in maps)
    count = getattr(matching, f"_count_by_{how}")
    got = count(np.where(rows < 0, 6, rows), columns, 6)
  np.testing.assert_array_equal(got, expected)


def test_counting_makes_no_array_of_pixels_times_slots():
  pixels = jax.ShapeDtypeStruct((1, 8, 64, 64), jnp.int32)
  count = jax.jit(lambda x, y: overlap_counts(x, y, 32))
  memory = count.lower(pixels, pixels).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 8 * 64 * 64 * 32


@pytest.mark.parametrize("count_unlabelled", [False, True])
def test_matching_is_the_optimum_of_scipy(maps, count_unlabelled):
  labels, prediction = maps
  counts = overlap_counts(labels, prediction, 6)
  slots, iou = match(counts, count_unlabelled=count_unlabelled)
  for b in range(3):
    table = np.zeros((6, 6))
    for g, p in np.ndindex(6, 6):
      label, mine = labels[b] == g, prediction[b] == p
      if not count_unlabelled:
        mine &= labels[b] >= 0
      there = label & (prediction[b] >= 0)
      union = (there | mine).sum()
      table[g, p] = (label & mine).sum() / max(union, 1)
    best = table[linear_sum_assignment(-table)].sum()
    np.testing.assert_allclose(iou[b].sum(), best, rtol=1e-6)
    np.testing.assert_allclose(iou[b], table[np.arange(6), slots[b]], 1e-6)
    assert sorted(slots[b].tolist()) == list(range(6)) and iou[b, 4] == 0


def test_what_is_unlabelled_counts_by_option():
  # Slot 0 covers the label and as much again of what no label owns; slot 1 has
  # two thirds of the label and nothing else.
  counts = np.zeros((1, 3, 2))
  counts[0, 0], counts[0, 2] = [3, 2], [5, 0]
  assert match(counts)[0].tolist() == [[0, 1]]
  slots, iou = match(counts, count_unlabelled=True)
  assert slots.tolist() == [[1, 0]]
  np.testing.assert_allclose(iou, [[2 / 5, 0]])


def test_permuting_the_slots_permutes_the_match(rng):
  counts = rng.integers(0, 100, (3, 7, 6))
  order = rng.permutation(6)
  slots, iou = match(counts)
  permuted, same = match(counts[:, :, order])
  np.testing.assert_array_equal(order[permuted], slots)
  np.testing.assert_allclose(same, iou, rtol=1e-6)


def test_the_match_of_five_pixels():
  labels = np.array([[0, 1, 1, -1, 0]])
  prediction = np.array([[0, 2, 2, 1, 0]])
  slots, _ = match(overlap_counts(labels, prediction, 3))
  assert slots.tolist() == [[0, 2, 1]]
