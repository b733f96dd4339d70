"""Assignments of blocks to the devices of a ring, and how even they are."""

import definition
import numpy as np
import pytest

from trajvit.ops.attention.devices.assignment import (
  Balance,
  assign,
  balance,
  contiguous,
  greedy,
  rearrange,
  striped,
  token_order,
  zigzag,
)
from trajvit.ops.attention.pattern import EMPTY, FULL

UNITS, DEVICES = 32, 4
RULES = {
  "contiguous": lambda classes: contiguous(UNITS, DEVICES),
  "zigzag": lambda classes: zigzag(UNITS, DEVICES),
  "striped": lambda classes: striped(UNITS, DEVICES),
  "greedy": lambda classes: greedy(UNITS, DEVICES, classes),
  "assign": lambda classes: assign(UNITS, DEVICES, classes),
}


def classes_of(allowed):
  return np.where(allowed, FULL, EMPTY)[None, None]


def frame_causal(frame=2):
  """Tiles of 32 blocks, `frame` of them a frame, that see no later frame."""
  t = np.arange(UNITS) // frame
  return classes_of(t[:, None] >= t)


def slow_balance(classes, assignment, devices):
  """From the definition: the ring turn by turn, tile by tile."""
  share = len(assignment) // devices
  owner = {unit: i // share for i, unit in enumerate(assignment)}
  load = np.zeros((devices, devices))  # [turn, device]
  for row, column in zip(*np.nonzero(classes[0, 0]), strict=True):
    turn = (owner[row] - owner[column]) % devices
    load[turn, owner[row]] += 1
  mean = load.sum() / devices
  return Balance(load.sum(0).max() / mean, load.max(1).sum() / mean)


@pytest.mark.parametrize("rule", RULES)
def test_every_unit_is_assigned_once(rng, rule):
  found = RULES[rule](classes_of(rng.random((UNITS, UNITS)) < 0.3))
  np.testing.assert_array_equal(np.sort(found), np.arange(UNITS))


def test_small_assignments_by_hand():
  np.testing.assert_array_equal(contiguous(4, 2), [0, 1, 2, 3])
  np.testing.assert_array_equal(zigzag(8, 2), [0, 1, 6, 7, 2, 3, 4, 5])
  np.testing.assert_array_equal(zigzag(6, 2), [0, 1, 5, 2, 3, 4])
  np.testing.assert_array_equal(zigzag(3, 3), [0, 1, 2])
  np.testing.assert_array_equal(striped(6, 2), [0, 2, 4, 1, 3, 5])
  heavy = classes_of(np.arange(4) < np.array([4, 3, 2, 1])[:, None])
  np.testing.assert_array_equal(greedy(4, 2, heavy), [0, 3, 1, 2])


@pytest.mark.parametrize("rule", RULES)
def test_balance_equals_a_loop(rng, rule):
  classes = classes_of(rng.random((UNITS, UNITS)) < 0.2)
  found = RULES[rule](classes)
  expected = slow_balance(classes, found, DEVICES)
  got = balance(classes, found, DEVICES)
  np.testing.assert_allclose(got.devices, expected.devices)
  np.testing.assert_allclose(got.turns, expected.turns)


def test_balance_counts_all_lists_and_all_blocks_of_a_unit(rng):
  """Two lists of 2 x 4 blocks a unit weigh what their tiles together do."""
  classes = np.where(rng.random((1, 2, 16, 32)) < 0.3, FULL, EMPTY)
  count = (classes != EMPTY).sum((0, 1)).reshape(8, 2, 8, 4).sum((1, 3))
  load = count.reshape(4, 2, 4, 2).sum((1, 3))
  got = balance(classes, contiguous(8, 4), 4)
  np.testing.assert_allclose(got.devices, 4 * load.sum(1).max() / load.sum())


def test_zigzag_is_even_where_frames_are_causal():
  classes = frame_causal()
  first = balance(classes, contiguous(UNITS, DEVICES), DEVICES)
  second = balance(classes, zigzag(UNITS, DEVICES), DEVICES)
  assert first.devices > 1.7 and first.turns > 1.7
  assert second.devices == 1
  assert second.turns < 1.15
  best = balance(classes, assign(UNITS, DEVICES, classes), DEVICES)
  assert best.turns <= second.turns


def test_what_is_even_as_it_comes_is_left_so():
  segment = np.arange(UNITS) // 4
  classes = classes_of(segment[:, None] == segment)
  found = assign(UNITS, DEVICES, classes)
  np.testing.assert_array_equal(found, np.arange(UNITS))
  assert balance(classes, found, DEVICES) == Balance(1, 1)


def test_no_rule_is_evener_than_the_one_chosen(rng):
  place = np.arange(UNITS)
  for width in (1, 3, 9):
    near = np.abs(place[:, None] - place) <= width
    classes = classes_of(near | (rng.random(near.shape) < 0.05))
    found = {
      name: balance(classes, rule(classes), DEVICES).turns
      for name, rule in RULES.items()
    }
    assert found["assign"] == min(found.values())


def test_greedy_evens_out_what_has_no_structure(rng):
  chance = rng.random((UNITS, 1)) ** 3
  classes = classes_of(rng.random((UNITS, UNITS)) < chance)
  even = balance(classes, greedy(UNITS, DEVICES, classes), DEVICES)
  assert even.devices < 1.03
  plain = balance(classes, contiguous(UNITS, DEVICES), DEVICES)
  assert even.devices < plain.devices


def test_without_classes_it_is_zigzag_and_nothing_is_even():
  np.testing.assert_array_equal(assign(8, 2), zigzag(8, 2))
  nothing = classes_of(np.zeros((8, 8), bool))
  assert balance(nothing, zigzag(8, 2), 2) == Balance(1, 1)


def test_a_rearranged_mask_allows_the_same_pairs(rng):
  blocks = definition.draw_mask(
    rng, queries=64, keys=64, block_query=8, block_key=4, segments=3
  )
  assignment = zigzag(8, 2)
  order = token_order(assignment, 64)
  moved = definition.dense(rearrange(blocks, assignment), 1, 1)
  whole = definition.dense(blocks, 1, 1)
  np.testing.assert_array_equal(moved, whole[..., order, :][..., order])
  assert not np.array_equal(moved, whole)


def test_what_does_not_divide_is_refused(rng):
  with pytest.raises(ValueError, match="3 devices must divide 8 units"):
    zigzag(8, 3)
  with pytest.raises(ValueError, match="must divide 4 query and 4 key.*got 8"):
    greedy(8, 2, np.ones((1, 1, 4, 4)))
  blocks = definition.draw_mask(rng, queries=30, keys=30)
  with pytest.raises(ValueError, match=r"whole blocks, \(32, 32\).*\(30, 30\)"):
    rearrange(blocks, zigzag(4, 2))
