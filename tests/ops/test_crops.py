"""Crops of tracks against a loop over their pixels."""

import jax
import numpy as np
import pytest

from trajvit.ops.crops import crop_tracks

crop = jax.jit(crop_tracks, static_argnums=(2, 3))


def slow(frames, tracks, num_tracks, size):
  """One place of one crop at a time."""
  scale = frames.shape[2] // tracks.shape[2]
  shape = (*frames.shape[:2], num_tracks, size, size)
  crops, inside = np.zeros((*shape, frames.shape[-1])), np.zeros(shape, bool)
  for b, t, m in np.ndindex(shape[:3]):
    rows, columns = np.nonzero(tracks[b, t] == m)
    if not len(rows):
      continue
    for i, j in np.ndindex(size, size):
      y, x = (
        where.min() + (k + 0.5) / size * (where.max() + 1 - where.min())
        for k, where in ((i, rows), (j, columns))
      )
      if tracks[b, t, int(y), int(x)] == m:
        inside[b, t, m, i, j] = True
        crops[b, t, m, i, j] = frames[b, t, int(y * scale), int(x * scale)]
  return crops, inside


@pytest.mark.parametrize("scale", [1, 4])
def test_equals_a_loop_over_pixels(rng, scale):
  tracks = np.full((2, 2, 6, 10), -1, np.int32)
  tracks[0, 0, 1:4, 2:9] = 0
  tracks[0, 0, 2, 3:5] = 1  # a hole in track 0
  tracks[0, 1, 5, 9] = 1
  tracks[1] = rng.integers(-1, 3, (2, 6, 10))
  frames = rng.normal(size=(2, 2, 6 * scale, 10 * scale, 3)).astype(np.float32)
  crops, inside = crop(frames, tracks, 4, 8)
  expected, expected_inside = slow(frames, tracks, 4, 8)
  np.testing.assert_array_equal(inside, expected_inside)
  np.testing.assert_allclose(crops, expected, atol=1e-6)
  assert not inside[:, :, 3].any()
