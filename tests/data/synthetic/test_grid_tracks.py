"""Track labels equal a slow count from the definition."""

import numpy as np
import pytest

from trajvit.data.synthetic.labels import grid_tracks


def slow(labels, grid, max_tracks):
  stride = labels.shape[1] // grid
  cells = [
    (t, i, j, int(labels[t, i * stride, j * stride]))
    for t, i, j in np.ndindex(len(labels), grid, grid)
  ]
  area, first = {}, {}
  for position, (*_, label) in enumerate(cells):
    if label >= 0:
      area[label] = area.get(label, 0) + 1
      first.setdefault(label, position)
  largest = sorted(area, key=lambda k: (-area[k], first[k]))[:max_tracks]
  number = {k: n for n, k in enumerate(sorted(largest, key=first.get))}
  tracks = np.full((len(labels), grid, grid), -1)
  for t, i, j, label in cells:
    tracks[t, i, j] = number.get(label, -1)
  return tracks, len(area) - len(largest)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@pytest.mark.parametrize("max_tracks", [1, 3, 6, 20])
@pytest.mark.parametrize("grid", [2, 4, 12])
def test_equals_the_definition(grid, max_tracks, dtype):
  rng = np.random.default_rng(grid + max_tracks)
  lowest = -1 if dtype == np.int32 else 0
  labels = rng.integers(lowest, 7, (3, 12, 12)).astype(dtype) * 5
  tracks, dropped = grid_tracks(labels, grid, max_tracks)
  expected, expected_dropped = slow(labels, grid, max_tracks)
  np.testing.assert_array_equal(tracks, expected)
  assert dropped == expected_dropped
  assert tracks.dtype == np.int32


def test_no_track_at_all():
  tracks, dropped = grid_tracks(np.full((2, 4, 4), -1), 2, 3)
  assert (tracks == -1).all() and tracks.shape == (2, 2, 2)
  assert dropped == 0


def test_names_of_labels_do_not_matter():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 5, (3, 8, 8))
  renamed = rng.permutation(100)[:5][labels]
  for max_tracks in (2, 5):
    a, _ = grid_tracks(labels, 4, max_tracks)
    b, _ = grid_tracks(renamed, 4, max_tracks)
    np.testing.assert_array_equal(a, b)
