"""Tracks drawn over frames."""

import numpy as np
import pytest
from PIL import Image

from trajvit.data.overlay import (
  draw_tracks,
  evenly_spaced,
  overlay_strip,
  save_gif,
  save_strip,
  track_colors,
)


@pytest.fixture
def clip(rng):
  frames = rng.integers(0, 200, (3, 8, 12, 3), dtype=np.uint8)
  labels = np.full((3, 8, 12), -1, np.int32)
  labels[:, :4, :6] = 0
  labels[1:, 4:, 6:] = 1
  return frames, labels


def test_a_track_keeps_its_colour_whatever_the_others():
  assert np.array_equal(track_colors(3), track_colors(200)[:3])
  assert track_colors(0).shape == (0, 3)


def test_colours_differ():
  colors = track_colors(64).astype(int)
  apart = np.abs(colors[:, None] - colors[None]).sum(-1)
  assert (apart + 999 * np.eye(64, dtype=int)).min() > 8
  near = [apart[i, i + 1] for i in range(63)]
  assert min(near) > 100


def test_only_tracks_and_their_outlines_are_drawn(clip):
  frames, labels = clip
  drawn = draw_tracks(frames, labels)
  assert drawn.shape == frames.shape and drawn.dtype == np.uint8
  plain = np.zeros(labels.shape, bool)
  plain[:, 5:, :5] = True  # far from any track
  assert np.array_equal(drawn[plain], frames[plain])
  expected = (frames[0, 1, 1] + track_colors(1)[0].astype(float)) / 2
  assert np.abs(drawn[0, 1, 1] - expected).max() <= 0.5
  assert (drawn[0, 3, :6] == 255).all() and (drawn[0, :3, 5] == 255).all()


def test_without_tracks_frames_stay(clip):
  frames, labels = clip
  assert np.array_equal(draw_tracks(frames, np.full_like(labels, -1)), frames)


def test_coarse_tracks_are_enlarged(clip):
  frames, labels = clip
  coarse = labels[:, ::2, ::3]
  assert np.array_equal(
    draw_tracks(frames, coarse), draw_tracks(frames, labels)
  )


def test_strip_is_the_frames_side_by_side(clip):
  strip = overlay_strip(*clip)
  assert strip.shape == (8, 36, 3)
  assert np.array_equal(strip[:, 12:24], draw_tracks(*clip)[1])


@pytest.mark.parametrize(("count", "most"), [(16, 8), (8, 8), (3, 8), (1, 8)])
def test_evenly_spaced_from_the_first_to_the_last(count, most):
  spaced = evenly_spaced(count, most)
  assert len(spaced) == min(count, most)
  assert (spaced[0], spaced[-1]) == (0, count - 1)
  steps = np.diff(spaced)
  assert len(spaced) == 1 or (steps.min() > 0 and np.ptp(steps) <= 1)


def test_files(clip, tmp_path):
  frames, labels = clip
  save_strip(tmp_path / "strip.png", frames, labels, columns=2)
  with Image.open(tmp_path / "strip.png") as image:
    assert image.size == (2 * 12 * 24, 2 * 8 * 24)  # enlarged 24 times
    assert np.array_equal(
      np.array(image)[: 8 * 24 : 24, : 12 * 24 : 24], frames[0]
    )
  save_gif(tmp_path / "clip.gif", frames, labels, fps=10)
  with Image.open(tmp_path / "clip.gif") as image:
    assert image.n_frames == 3 and image.size == (2 * 12 * 24, 8 * 24)
    assert image.info["duration"] == 100 and image.info["loop"] == 0


def test_shapes_that_do_not_belong_together(clip):
  with pytest.raises(ValueError, match=r"got \(3, 8, 12, 3\) and \(2, 8, 12\)"):
    draw_tracks(clip[0], clip[1][:2])
