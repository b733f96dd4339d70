import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.tracks import track_areas, track_boxes, track_centers


def one_mask():
  """Row 1, columns 2 to 4 of a 4 x 6 grid belong to track 0, none to 1."""
  tracks = np.full((1, 1, 4, 6), -1)
  tracks[0, 0, 1, 2:5] = 0
  return tracks


def test_center_of_a_mask_and_of_an_empty_one():
  got = track_centers(one_mask(), 2)[0, 0]
  np.testing.assert_allclose(got, [(0.25, 0.5), (-1, -1)])


def test_box_of_a_mask_and_of_an_empty_one():
  got = track_boxes(one_mask(), 2)[0, 0]
  expected = [(0.25, 2 / 6, 0.25, 4 / 6), (-1, -1, -1, -1)]
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_equal_a_loop_over_masks(rng):
  tracks = rng.integers(-1, 4, (2, 3, 5, 7))
  tracks[0, 1][tracks[0, 1] == 3] = -1
  centers, boxes = track_centers(tracks, 4), track_boxes(tracks, 4)
  areas = track_areas(tracks, 4)
  for b, t, m in np.ndindex(2, 3, 4):
    rows, columns = np.nonzero(tracks[b, t] == m)
    assert np.isclose(areas[b, t, m], len(rows) / 35)
    if not len(rows):
      continue
    np.testing.assert_allclose(
      centers[b, t, m], (rows.mean() / 5, columns.mean() / 7), atol=1e-6
    )
    ends = (
      rows.min() / 5,
      columns.min() / 7,
      rows.max() / 5,
      columns.max() / 7,
    )
    np.testing.assert_allclose(boxes[b, t, m], ends, atol=1e-6)


def test_memory_does_not_grow_with_masks():
  def temporary_bytes(num_tracks):
    tracks = jax.ShapeDtypeStruct((1, 4, 64, 64), jnp.int32)
    compiled = (
      jax.jit(lambda x: track_boxes(x, num_tracks)).lower(tracks).compile()
    )
    return compiled.memory_analysis().temp_size_in_bytes

  masks = 240 * 4 * 64 * 64  # bytes of the additional masks, as booleans
  assert temporary_bytes(256) - temporary_bytes(16) < masks


def test_a_trimmed_box_leaves_out_a_stray_cell():
  tracks = np.full((1, 1, 8, 8), -1, np.int32)
  tracks[:, :, 2:6, 1:4] = 0
  box = np.array([2, 1, 5, 3]) / 8
  np.testing.assert_allclose(track_boxes(tracks, 1, trim=0.1)[0, 0, 0], box)
  tracks[:, :, 7, 7] = 0
  np.testing.assert_allclose(track_boxes(tracks, 1, trim=0.1)[0, 0, 0], box)
  stray = track_boxes(tracks, 1)[0, 0, 0]
  np.testing.assert_allclose(stray, [2 / 8, 1 / 8, 7 / 8, 7 / 8])


def test_a_single_cell_is_its_own_trimmed_box():
  tracks = np.full((1, 1, 4, 4), -1, np.int32)
  tracks[0, 0, 1, 2] = 0
  box = track_boxes(tracks, 2, trim=0.4)[0, 0]
  np.testing.assert_allclose(box, [[1 / 4, 2 / 4] * 2, [-1] * 4])


def test_a_box_cannot_be_trimmed_away():
  with pytest.raises(ValueError, match=r"in \[0, 0.5\), got 0.5"):
    track_boxes(np.zeros((1, 1, 2, 2), np.int32), 1, trim=0.5)
