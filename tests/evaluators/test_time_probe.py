"""Embeddings that know time, and such that do not."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.frame_order import (
  Reordered,
  backwards,
  middle_only,
  reorder,
  shuffled,
)
from trajvit.types import Batch, Clip

FRAMES, WIDTH = 5, 16


class Movers(FakeLoader):
  """A bright spot that moves right (class 0) or left (class 1)."""

  def __init__(self, count, seed=0, **options):
    rng = np.random.default_rng(seed)
    self.labels = np.arange(count) % 2
    clips = []
    for label in self.labels:
      middle = rng.integers(4, WIDTH - 4)
      clip = rng.integers(0, 20, (FRAMES, 1, WIDTH, 1)).astype(np.uint8)
      for t in range(FRAMES):
        clip[t, 0, middle + (t - 2) * (1 - 2 * label)] = 250
      clips.append(clip)
    clips[-1] = None
    super().__init__(clips, **options)
    self.seed = seed

  def fingerprint(self):
    return str(self.seed)

  def batch(self, rows):
    batch, info = super().batch(rows)
    label = np.where(batch.valid, [i % 2 for i in rows], 99)
    return dataclasses.replace(batch, label=label.astype(np.int32)), info


def by_time(variables, batch):
  """The place of the spot in each frame, less that in the middle one."""
  frames = batch.clip.frames[:, :, 0, :, 0] * 1.0
  place = frames.argmax(-1) * 1.0
  return {"video_embedding": place - place[:, 2:3]}


def blind(variables, batch):
  """The mean frame, which every order has."""
  frames = batch.clip.frames[:, :, 0, :, 0] * 1.0
  # In whole numbers: no order of the sum makes a difference.
  return {"video_embedding": jnp.sum(frames, 1)}


def evaluate(loader, predict, train=None, **options):
  return EVALUATORS.build(
    dict(name="time_probe", train=train and {}, **options),
    loader=loader,
    build_loader=lambda spec: train,
  ).run(predict, {})


@pytest.mark.parametrize("own", [False, True])
def test_an_embedding_that_knows_time(own):
  train = Movers(60, seed=1) if own else None
  got = evaluate(Movers(41), by_time, train, bootstrap=20)
  assert got["accuracy"] == 100 and got["accuracy_middle_frame"] < 70
  assert got["time_gain"] == pytest.approx(
    got["accuracy"] - got["accuracy_middle_frame"]
  )
  assert got["time_gain_low"] <= got["time_gain"] <= got["time_gain_high"]
  # Right backwards is left: of the two kinds of motion nothing tells which
  # way a clip is played, and shuffled ones do not move evenly.
  assert got["order_reversed"] < 70
  assert (got["n_evaluated"], got["n_missing"]) == (40, 1)
  assert got.get("n_train") == (59 if own else None)


def test_time_is_told_where_all_move_alike():
  loader = Movers(81)
  loader.clips = [
    clip if i % 2 == 0 else None for i, clip in enumerate(loader.clips)
  ]
  got = evaluate(loader, by_time, classes=False)
  assert got["order_reversed"] == 100 and got["order_shuffled"] > 85
  assert "accuracy" not in got and got["n_missing"] == 41


def test_an_embedding_without_order_is_right_in_one_of_two():
  got = evaluate(Movers(41), blind)
  assert got["order_reversed"] == got["order_shuffled"] == 50
  assert 0 < abs(got["time_gain"]) < 60


def test_frames_and_their_tracks_change_places(rng):
  frames = rng.integers(0, 255, (2, 4, 2, 2, 3)).astype(np.uint8)
  tracks = rng.integers(0, 3, (2, 4, 1, 1)).astype(np.int32)
  mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
  clip = Clip(frames, frame_mask=mask, tracks=tracks)
  for order, expected in (
    (backwards, [[3, 2, 1, 0], [2, 1, 0, 3]]),
    (middle_only, [[2, 2, 2, 2], [1, 1, 1, 3]]),
  ):
    got = reorder(Batch(clip=clip), order, rng).clip
    for row, places in enumerate(expected):
      np.testing.assert_array_equal(got.frames[row], frames[row][places])
      np.testing.assert_array_equal(got.tracks[row], tracks[row][places])
    assert got.frame_mask is mask
  with pytest.raises(ValueError, match="2 frames or more, got 1"):
    reorder(Batch(clip=Clip(frames[:, :1])), backwards, rng)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_shuffles_do_not_depend_on_the_batch_size(batch_size):
  def clips(loader):
    batches = [batch for batch, _ in Reordered(loader, shuffled).evaluate()]
    return np.concatenate([b.clip.frames[b.valid] for b in batches])

  whole, loader = Movers(9), Movers(9, batch_size=batch_size)
  np.testing.assert_array_equal(clips(loader), clips(whole))
  plain = np.stack(whole.clips[:-1])
  assert (clips(loader) != plain).any(axis=(1, 2, 3, 4)).sum() > 4
  assert loader.open == 0
