"""What goes into an exported encoder: shapes, ranges, and label maps."""

import numpy as np
import pytest

from trajvit.export.arrays import as_frames, as_text, as_tracks

CLIP = {
  "frames": 2,
  "size": 8,
  "any_frames": {"refused": "one vector each"},
  "tracks": {"grid": 4, "max_tracks": 3},
}
TEXT = {"length": 5, "vocab_size": 10}


def test_a_single_clip_gets_a_batch_axis():
  video = np.zeros((2, 8, 8, 3), np.uint8)
  frames, single = as_frames(video, CLIP)
  assert frames.shape == (1, 2, 8, 8, 3)
  assert single
  frames, single = as_frames(video[None].repeat(3, 0), CLIP)
  assert frames.shape == (3, 2, 8, 8, 3)
  assert not single


@pytest.mark.parametrize(
  ("shape", "dtype"),
  [
    ((2, 8, 8, 3), np.float32),
    ((2, 8, 8, 3), np.int32),
    ((3, 8, 8, 3), np.uint8),
    ((2, 8, 9, 3), np.uint8),
    ((2, 8, 8, 4), np.uint8),
    ((8, 8, 3), np.uint8),
    ((0, 2, 8, 8, 3), np.uint8),
    ((1, 1, 2, 8, 8, 3), np.uint8),
  ],
)
def test_another_video_is_refused(shape, dtype):
  with pytest.raises(ValueError, match=r"\[2, 8, 8, 3\], got") as error:
    as_frames(np.zeros(shape, dtype), CLIP)
  assert f"{np.dtype(dtype)} {list(shape)}" in str(error.value)


def test_pixels_are_sampled_at_the_corner_of_cells(rng):
  pixels = rng.integers(-1, 3, (2, 2, 8, 8), dtype=np.int64)
  cells = as_tracks(pixels, (2, 2), CLIP)
  assert cells.dtype == np.int32
  expected = np.empty((2, 2, 4, 4), np.int32)
  for y in range(4):
    for x in range(4):
      expected[:, :, y, x] = pixels[:, :, 2 * y, 2 * x]
  np.testing.assert_array_equal(cells, expected)
  np.testing.assert_array_equal(as_tracks(cells, (2, 2), CLIP), cells)
  np.testing.assert_array_equal(as_tracks(cells[0], (1, 2), CLIP), cells[:1])


@pytest.mark.parametrize(
  "tracks",
  [
    np.zeros((1, 2, 5, 5), np.int32),
    np.zeros((2, 2, 4, 4), np.int32),
    np.zeros((1, 3, 4, 4), np.int32),
    np.zeros((1, 2, 4, 4), np.float32),
    np.zeros((4, 4), np.int32),
  ],
  ids=lambda x: f"{x.dtype} {x.shape}",
)
def test_other_tracks_are_refused(tracks):
  with pytest.raises(ValueError, match="4 x 4 cells or 8 x 8 pixels, got"):
    as_tracks(tracks, (1, 2), CLIP)


@pytest.mark.parametrize("bad", [-2, 3])
def test_ids_out_of_range_are_refused(bad):
  tracks = np.zeros((1, 2, 4, 4), np.int32)
  tracks[0, 1, 2, 3] = bad
  with pytest.raises(ValueError, match=r"\[0, 3\), or -1 for none, got"):
    as_tracks(tracks, (1, 2), CLIP)


def test_text_is_checked():
  ids, mask = np.ones((2, 5), np.int64), np.ones((2, 5), bool)
  got, _ = as_text(ids, mask, TEXT)
  assert got.dtype == np.int32
  for bad_ids, bad_mask, message in [
    (ids[:, :4], mask[:, :4], r"integers \[B, 5\], got int64 \[2, 4\]"),
    (ids[0], mask[0], r"integers \[B, 5\]"),
    (ids.astype(float), mask, "got float64"),
    (ids, mask.astype(int), "mask must be bool"),
    (ids, mask[:1], r"bool \[2, 5\] as the ids"),
    (ids * 10, mask, r"\[0, 10\), got 10 to 10"),
    (-ids, mask, r"\[0, 10\), got -1 to -1"),
  ]:
    with pytest.raises(ValueError, match=message):
      as_text(bad_ids, bad_mask, TEXT)
