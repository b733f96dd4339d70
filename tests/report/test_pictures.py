"""Sheets of panels, and colours that agree from one to the next."""

import numpy as np
import pytest

from trajvit.report.pictures import (
  Panel,
  animation,
  gray,
  match_labels,
  sheet,
  stamped,
)

FRAMES, SIZE = 5, 40


@pytest.fixture
def frames(rng):
  return rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def labels(rng):
  """Six labels and -1 in blocks of 2 x 2 cells, on the grid [5, 8, 8]."""
  coarse = rng.integers(-1, 6, (FRAMES, 4, 4))
  return coarse.repeat(2, axis=1).repeat(2, axis=2)


def test_other_names_of_the_same_regions_are_undone(rng, labels):
  names = np.append(rng.permutation(60)[:6], -1)
  renamed = names[labels]
  assert np.array_equal(match_labels(renamed, labels), labels)
  coarse = slice(None), slice(None, None, 2), slice(None, None, 2)
  assert np.array_equal(match_labels(renamed[coarse], labels), labels[coarse])


def test_regions_stay_apart_and_none_stays_none(rng, labels):
  found = rng.integers(-1, 12, (FRAMES, 8, 8))
  renamed = match_labels(found, labels)
  assert np.array_equal(renamed == -1, found == -1)
  for label in range(12):
    assert len(np.unique(renamed[found == label])) == 1
  used = np.unique(renamed[renamed >= 0])
  assert len(used) == len(np.unique(found[found >= 0]))
  assert set(range(6)) < set(used.tolist())  # all overlap: all have a partner


def test_regions_without_overlap_get_labels_of_their_own():
  found, reference = np.full((2, 1, 4), -1), np.full((2, 1, 4), -1)
  found[:, :, 0], found[:, :, 1], reference[:, :, 2] = 3, 4, 7
  assert match_labels(found, reference)[0, 0].tolist() == [8, 9, -1, -1]
  nothing = np.full_like(found, -1)
  assert np.array_equal(match_labels(nothing, reference), nothing)
  assert match_labels(found, nothing)[0, 0].tolist() == [0, 1, -1, -1]


def test_a_pair_goes_to_the_larger_overlap():
  found = np.array([[[5, 2, 2, 2]]])
  assert match_labels(found, np.zeros_like(found)).tolist() == [[[1, 0, 0, 0]]]


def test_a_sheet_has_a_row_a_panel_and_evenly_spaced_columns(frames):
  panels = [Panel("a", "b", frames), Panel("c", "d", 255 - frames)]
  drawn = sheet(panels, columns=3)
  assert drawn.dtype == np.uint8
  corners = [
    (int(y), int(x))
    for panel in panels
    for picture in panel.frames[[0, 2, 4]]
    for y, x in np.argwhere((drawn == picture[0, 0]).all(-1))
    if np.array_equal(drawn[y : y + SIZE, x : x + SIZE], picture)
  ]
  rows, columns = ({corner[i] for corner in corners} for i in (0, 1))
  assert (len(corners), len(rows), len(columns)) == (6, 2, 3)
  caption = drawn[: min(rows)]
  assert caption.min() < 100  # there is something to read
  assert sheet(panels).shape[1] > drawn.shape[1]  # all five frames


def test_an_animation_shows_all_panels_at_every_time(frames):
  panels = [Panel("a", "b", frames), Panel("c", "d", 255 - frames)]
  drawn = animation(panels)
  one = animation(panels[:1])
  assert len(drawn) == FRAMES and drawn.shape[1] == one.shape[1]
  assert drawn.shape[2] > one.shape[2] > SIZE
  still = (drawn == drawn[0]).all((0, 3))
  assert (~still).sum() <= 2 * SIZE * SIZE  # captions do not move
  assert (~still).sum() > SIZE * SIZE


def test_a_stamp_covers_a_corner_alone(frames):
  wide = np.tile(frames, (1, 3, 3, 1))
  drawn = stamped(wide, [f"{t} s" for t in range(FRAMES)])
  changed = (drawn != wide).any((0, 3))
  y, x = np.nonzero(changed)
  assert y.min() > 2 * SIZE and x.max() < SIZE
  assert not np.array_equal(drawn[0, -20:, :40], wide[0, -20:, :40])


def test_gray_has_the_lightness_and_no_colour(frames):
  drawn = gray(frames)
  assert drawn.shape == frames.shape and drawn.dtype == np.uint8
  assert (np.ptp(drawn.astype(int), axis=-1) == 0).all()
  plain = np.repeat(frames[..., :1], 3, axis=-1)
  assert np.array_equal(gray(plain), plain)
