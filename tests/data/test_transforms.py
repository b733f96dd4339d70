"""Views: frames and tracks stay together, whatever is cropped or mirrored."""

import numpy as np
import pytest

from trajvit.data.transforms import (
  VIEWS,
  View,
  apply_view,
  center_crop,
  crop_flip,
  nearest_indices,
)

COLOURS = np.array([20, 90, 160, 230], np.uint8)


def _blobs(rng, frames, height, width, cell=8):
  """Labels in large cells, and frames with each label painted as a grey."""
  coarse = rng.integers(0, len(COLOURS), (frames, height, width)).astype(int)
  labels = coarse.repeat(cell, 1).repeat(cell, 2).astype(np.int32)
  pixels = np.repeat(COLOURS[labels][..., None], 3, axis=-1)
  return pixels, labels


def _read_back(frames):
  """Which label each pixel's grey stands for, and whether it is unmixed."""
  distance = np.abs(frames[..., :1].astype(int) - COLOURS.astype(int))
  return distance.argmin(-1), distance.min(-1) < 3


@pytest.mark.parametrize(
  ("source", "target", "expected"),
  [(8, 2, [0, 4]), (10, 4, [0, 2, 5, 7]), (3, 6, [0, 0, 1, 1, 2, 2])],
)
def test_nearest_golden(source, target, expected):
  assert nearest_indices(source, target).tolist() == expected


def test_nearest_of_a_crop_is_the_crop_of_nearest(rng):
  """Also mirrored, against slicing the axis for real."""
  axis = np.arange(31)
  for _ in range(200):
    start, length = rng.integers(0, 15), rng.integers(1, 16)
    target = int(rng.integers(1, 20))
    cropped = axis[start : start + length]
    crop = (int(start), int(length), 31)
    for flip, seen in (False, cropped), (True, cropped[::-1]):
      expected = seen[np.arange(target) * len(seen) // target]
      got = nearest_indices(31, target, crop, flip)
      np.testing.assert_array_equal(axis[got], expected)


def test_nearest_in_other_units(rng):
  """A crop of half the axis is half of it at any resolution."""
  for flip in False, True:
    fine = nearest_indices(64, 8, (16, 32, 64), flip)
    coarse = nearest_indices(64, 8, (2, 4, 8), flip)
    np.testing.assert_array_equal(fine, coarse)
  for _ in range(200):  # never outside of the axis
    whole = int(rng.integers(2, 50))
    start = int(rng.integers(whole))
    length = int(rng.integers(1, whole - start + 1))
    for flip in False, True:
      got = nearest_indices(7, 5, (start, length, whole), flip)
      assert got.min() >= 0 and got.max() < 7


@pytest.mark.parametrize("name", sorted(VIEWS))
@pytest.mark.parametrize("resolution", [1, 2])
def test_tracks_stay_on_their_pixels(rng, name, resolution):
  """Labels painted into the pixels are found under the labels again."""
  pixels, labels = _blobs(rng, 3, 6, 9)
  tracks = labels[:, ::resolution, ::resolution]
  clean_cells = 0
  for seed in range(20):
    view = VIEWS[name](48, 72, np.random.default_rng(seed))
    frames, seen = apply_view(view, pixels, tracks, size=48, track_grid=24)
    assert frames.shape == (3, 48, 48, 3) and frames.dtype == np.uint8
    assert seen.shape == (3, 24, 24) and seen.dtype == np.int32
    # A cell is 2 x 2 pixels: ask where its diagonal is all of one clean grey.
    first, clean = _read_back(frames[:, ::2, ::2])
    second, also = _read_back(frames[:, 1::2, 1::2])
    inside = clean & also & (first == second)
    assert len(np.unique(seen)) == len(COLOURS)  # nothing to renumber
    assert (seen == first)[inside].mean() > 0.99
    clean_cells += inside.sum()
  assert clean_cells > 20 * 3 * 24 * 24 / 2


def test_exact_when_the_size_is_kept(rng):
  """A square crop that is not resized, mirrored or not, equals slicing."""
  pixels = rng.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
  tracks = np.arange(2 * 20 * 30, dtype=np.int32).reshape(2, 20, 30)
  for flip in False, True:
    frames, seen = apply_view(
      View(3, 5, 12, 12, flip), pixels, tracks, size=12, track_grid=12
    )
    step = -1 if flip else 1
    np.testing.assert_array_equal(frames, pixels[:, 3:15, 5:17][:, :, ::step])
    expected = tracks[:, 3:15, 5:17][:, :, ::step]
    ranks = np.searchsorted(np.unique(expected), expected)
    np.testing.assert_array_equal(seen, ranks)


def test_tracks_out_of_view_vanish():
  labels = np.full((2, 8, 8), -1, np.int32)
  labels[:, :, :2], labels[0, :, 5], labels[:, :, 6:] = 0, 3, 4
  frames = np.zeros((2, 8, 8, 3), np.uint8)
  _, seen = apply_view(View(0, 4, 8, 4), frames, labels, size=8, track_grid=4)
  assert seen[0, 0].tolist() == [-1, 0, 1, 1]
  assert seen[1, 0].tolist() == [-1, -1, 1, 1]


def test_shrinking_is_antialiased():
  """A fine checkerboard becomes grey, not an arbitrary half of itself."""
  board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
  frames = np.repeat(board[None, ..., None], 3, axis=-1)
  small, tracks = apply_view(
    View(0, 0, 64, 64), frames, None, size=8, track_grid=4
  )
  assert tracks is None
  assert np.abs(small.astype(int) - 127).max() < 10


def test_evaluation_views():
  assert VIEWS["none"](30, 50) == View(0, 0, 30, 50)
  assert center_crop(30, 50) == View(0, 10, 30, 30)
  assert center_crop(51, 30) == View(10, 0, 30, 30)
  assert crop_flip(30, 50) == View(0, 0, 30, 50)


def test_crop_flip_is_in_range():
  views = [crop_flip(60, 80, np.random.default_rng(i)) for i in range(500)]
  areas = np.array([v.height * v.width for v in views]) / (60 * 80)
  shapes = np.array([v.width / v.height for v in views])
  assert 0.19 < areas.min() < 0.3 and 0.9 < areas.max() <= 1
  assert 0.72 < shapes.min() < 0.8 and 1.25 < shapes.max() < 1.38
  assert all(
    v.top >= 0
    and v.left >= 0
    and v.top + v.height <= 60
    and v.left + v.width <= 80
    for v in views
  )
  assert 200 < sum(v.flip for v in views) < 300
  assert len(set(views)) > 490
  assert views[7] == crop_flip(60, 80, np.random.default_rng(7))


@pytest.mark.parametrize(
  ("height", "width", "expected"), [(2, 100, (2, 3)), (100, 2, (3, 2))]
)
def test_crop_flip_of_a_thin_picture(height, width, expected):
  """No draw fits: the largest rectangle in the middle of an allowed shape."""
  view = crop_flip(height, width, np.random.default_rng(0), scale=(0.9, 1.0))
  assert (view.height, view.width) == expected
  assert view.top == (height - view.height) // 2
  assert view.left == (width - view.width) // 2


def test_unknown_view_lists_the_known():
  with pytest.raises(ValueError, match="center_crop, crop_flip, none"):
    VIEWS["random"]
