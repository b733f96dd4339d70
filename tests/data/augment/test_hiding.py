"""What is hidden or lost, counted: tube masks and dropped frames."""

import numpy as np
import pytest

from trajvit.data.augment import Footage
from trajvit.data.augment.frame_drop import FrameDrop
from trajvit.data.augment.tube_mask import (
  TubeMask,
  draw_patches,
  draw_rectangle,
)
from trajvit.data.example import ClipSpec

CLIP = ClipSpec(frames=3, size=32, track_grid=16, max_tracks=4)


def make(rng, frames=3, tracked=True):
  tracks = rng.integers(0, 4, (frames, 16, 16)).astype(np.int32)
  return Footage(
    frames=rng.integers(1, 256, (frames, 32, 32, 3), dtype=np.uint8),
    times=np.arange(frames, dtype=np.float32),
    tracks=tracks if tracked else None,
  )


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("which", ["rectangle", "patches"])
def test_what_is_hidden_is_hidden_in_frames_and_tracks(rng, which, fill):
  step = TubeMask(clip=CLIP, which=which, share=0.25, patch=4, fill=fill)
  footage, seen = make(rng), set()
  mean = np.round(footage.frames.mean((0, 1, 2)))
  for seed in range(20):
    got = step(footage, np.random.default_rng(seed))
    hidden = got.tracks == -1
    assert (hidden == hidden[0]).all()
    pixels = hidden.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(
      got.frames[pixels], np.tile(mean * (fill == "mean"), (pixels.sum(), 1))
    )
    np.testing.assert_array_equal(got.frames[~pixels], footage.frames[~pixels])
    np.testing.assert_array_equal(got.tracks[~hidden], footage.tracks[~hidden])
    if which == "patches":
      assert hidden[0].sum() == 64
      patches = hidden[0].reshape(8, 2, 8, 2)
      assert (patches.all((1, 3)) == patches.any((1, 3))).all()
    else:
      assert 0.18 < hidden[0].mean() < 0.32
    seen.add(hidden[0].tobytes())
  assert len(seen) > 15


def test_clips_without_tracks_are_hidden_alike(rng):
  step = TubeMask(clip=CLIP)
  footage = make(rng)
  for seed in range(3):
    bare = Footage(footage.frames, footage.times)
    one = step(footage, np.random.default_rng(seed))
    two = step(bare, np.random.default_rng(seed))
    np.testing.assert_array_equal(one.frames, two.frames)
    assert two.tracks is None


def test_nothing_and_everything(rng):
  footage = make(rng)
  for which in "rectangle", "patches":
    none = TubeMask(clip=CLIP, which=which, share=0)(footage, rng)
    np.testing.assert_array_equal(none.frames, footage.frames)
    np.testing.assert_array_equal(none.tracks, footage.tracks)
  whole = TubeMask(clip=CLIP, which="patches", share=1)(footage, rng)
  assert (whole.tracks == -1).all()
  assert TubeMask(clip=CLIP, p=0)(footage, rng) is footage


def test_rectangles_are_one_piece_anywhere(rng):
  covered = np.zeros((12, 12))
  shapes = set()
  for _ in range(300):
    cells = draw_rectangle(12, 0.2, rng)
    rows, columns = cells.any(1), cells.any(0)
    assert (cells == rows[:, None] & columns).all()
    for line in rows, columns:
      assert (np.diff(np.flatnonzero(line)) == 1).all()
    covered += cells
    shapes.add((int(rows.sum()), int(columns.sum())))
  assert covered.min() > 0
  ratios = [width / height for height, width in shapes]
  assert min(ratios) < 0.5 and max(ratios) > 2


def test_patches_are_a_share_of_all(rng):
  mean = np.mean([draw_patches(6, 0.4, rng) for _ in range(200)], 0)
  assert draw_patches(6, 0.4, rng).sum() == round(0.4 * 36)
  assert mean.min() > 0.2 and mean.max() < 0.6


def test_a_lost_frame_is_the_one_before(rng):
  """With its time and its tracks, all of one frame of the clip."""
  footage = make(rng, frames=12)
  lost = 0
  for seed in range(50):
    got = FrameDrop(p=0.3)(footage, np.random.default_rng(seed))
    shown = got.times.astype(int)
    np.testing.assert_array_equal(got.frames, footage.frames[shown])
    np.testing.assert_array_equal(got.tracks, footage.tracks[shown])
    assert shown[0] == 0
    for t in range(1, 12):
      assert shown[t] in (t, shown[t - 1])
      lost += shown[t] != t
  assert 0.22 < lost / (50 * 11) < 0.38


def test_all_frames_lost_or_none(rng):
  footage = make(rng, tracked=False)
  none = FrameDrop(p=0)(footage, rng)
  np.testing.assert_array_equal(none.frames, footage.frames)
  assert none.tracks is None
  still = FrameDrop(p=1)(footage, rng)
  assert (still.frames == footage.frames[0]).all() and not still.times.any()
