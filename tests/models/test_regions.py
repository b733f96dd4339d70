"""Owners of cells on another encoder's grid, against loops."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, GRID, SIZE, TRACKS

from trajvit.models.regions import Regions, build_regions
from trajvit.tokenizers.trajtok import Segmentation
from trajvit.types import Clip


class Colours(nnx.Module):
  """A segmenter whose three slots are the three colours of a pixel."""

  num_slots, width, stride = 3, 5, 4

  def __call__(self, frames, frame_mask=None, *, train=False):
    logits = frames[:, :, :: self.stride, :: self.stride]
    queries = jnp.zeros((frames.shape[0], 3, self.width))
    return Segmentation(logits, queries, logits)


def colours(**options):
  return Regions(Colours(), num_slots=3, **options)


def bilinear(image, rows, columns):
  """Half-pixel centres, clamped edges, no anti-aliasing: one cell at a time."""
  out = np.zeros((rows, columns, image.shape[-1]))
  for i, j in np.ndindex(rows, columns):
    places = []
    for n, size, count in (
      (i, image.shape[0], rows),
      (j, image.shape[1], columns),
    ):
      at = min(max((n + 0.5) * size / count - 0.5, 0), size - 1)
      low = int(at)
      places.append([(low, low + 1 - at), (min(low + 1, size - 1), at - low)])
    for y, a in places[0]:
      for x, b in places[1]:
        out[i, j] += a * b * image[y, x]
  return out


@pytest.mark.parametrize("grid", [(4, 8, 8), (2, 3, 5), (1, 16, 4)])
def test_logits_are_averaged_in_time_and_resized_in_space(clip, grid):
  mask = clip.frame_mask.copy()
  mask[1, 1:] = False
  clip = dataclasses.replace(clip, frame_mask=mask)
  owner, queries = colours()(clip, grid)
  assert owner.dtype == np.int32 and queries.shape == (3, 3, 5)
  logits = clip.frames[:, :, ::4, ::4] / 127.5 - 1
  span = FRAMES // grid[0]
  for b, t in np.ndindex(3, grid[0]):
    frames = [i for i in range(t * span, (t + 1) * span) if mask[b, i]]
    if not frames:
      assert (owner[b, t] == -1).all()
      continue
    expected = bilinear(logits[b, frames].mean(0), *grid[1:]).argmax(-1)
    np.testing.assert_array_equal(owner[b, t], expected)


def test_frames_can_be_shrunk_for_the_segmenter(clip):
  """A colour that fills a quarter of the frame fills it at any size."""
  frames = np.zeros_like(clip.frames)
  half = SIZE // 2
  for slot, (rows, columns) in enumerate(
    [(slice(half), slice(None)), (slice(half, None), slice(half)),
     (slice(half, None), slice(half, None))]
  ):  # fmt: skip
    frames[:, :, rows, columns, slot] = 255
  expected = np.repeat(np.repeat([[0, 0], [1, 2]], 2, axis=0), 2, axis=1)
  for size in (None, 16):
    owner, _ = colours(size=size)(Clip(frames), (4, 4, 4))
    np.testing.assert_array_equal(owner, np.broadcast_to(expected, owner.shape))


def test_tracks_are_sampled_at_corners(clip):
  mask = clip.frame_mask.copy()
  mask[2, 2:] = False
  clip = dataclasses.replace(clip, frame_mask=mask)
  regions = Regions(None, num_slots=TRACKS - 2)  # one that occurs is too many
  owner, queries = regions(clip, (2, 4, 4))
  assert queries is None and regions.needs_tracks
  expected = clip.tracks[:, ::2, :: GRID // 4, :: GRID // 4].copy()
  assert (expected == TRACKS - 2).any()
  expected[expected == TRACKS - 2] = -1
  expected[2, 1] = -1
  np.testing.assert_array_equal(owner, expected)


def test_what_does_not_fit_is_refused(clip):
  with pytest.raises(ValueError, match="the 3 steps .* divide the 4 frames"):
    colours()(clip, (3, 4, 4))
  with pytest.raises(ValueError, match="clip.tracks are needed, got None"):
    Regions(None, num_slots=3)(Clip(clip.frames), (4, 4, 4))
  spec = dict(stem=dict(name="conv"), width=24, num_slots=3, num_head=2)
  with pytest.raises(ValueError, match="a segmenter reads no 'num_head'"):
    build_regions(spec, max_tracks=4, rngs=nnx.Rngs(params=0))
