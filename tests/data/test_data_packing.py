"""Packing by the loader: counts, layouts like the device's, and good sizes."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, GRID, SIZE, make_clip

from trajvit.data import build_loader
from trajvit.data.changed_patches import ChangedPatches
from trajvit.data.packing import Packing, count_tracks, measure, plan, suggest
from trajvit.ops import packing as ops
from trajvit.tokenizers import TOKENIZERS
from trajvit.types import PackedGroup

GROUP = PackedGroup(clips=4, rows=2, length=12)


@pytest.mark.parametrize("batch", [8, 5])
def test_the_layout_is_the_device_s(rng, batch):
  planned = jax.jit(ops.plan, static_argnums=1)
  for _ in range(20):
    counts = rng.integers(0, 11, batch)  # most of them do not fit
    host, device = plan(counts, GROUP), planned(counts, GROUP)
    assert host.row.dtype == host.start.dtype == np.int32
    np.testing.assert_array_equal(host.row, device.row)
    np.testing.assert_array_equal(host.start, device.start)
    assert host.group == device.group


def test_tracks_are_counted_as_the_tokenizer_does(rng):
  clip = make_clip(rng, batch=6, tracks=9)
  mask = rng.random((6, FRAMES)) < 0.6
  # Few cells, so that tracks are absent, and some in masked frames alone.
  tracks = np.where(rng.random(clip.tracks.shape) < 0.99, -1, clip.tracks)
  clip = dataclasses.replace(clip, tracks=tracks, frame_mask=mask)
  max_tracks = 7  # fewer than there are labels
  tokenizer = TOKENIZERS.build(
    {"name": "trajectory_light", "patch": 4},  # a grid half as fine
    max_tracks=max_tracks,
    width=8,
    num_heads=2,
    clip_shape=(FRAMES, SIZE, SIZE),
    rngs=nnx.Rngs(params=0),
  )
  frames = clip.frames.astype(np.float32)
  clip = dataclasses.replace(clip, frames=frames)
  mask = jax.jit(lambda clip: tokenizer(clip)[0].mask)(clip)
  counts = count_tracks(clip.tracks, clip.frame_mask, max_tracks)
  assert len(set(counts)) > 1
  np.testing.assert_array_equal(counts, mask.sum(1))


def test_all_clips_of_constant_count_fill_their_rows():
  packing = Packing(tokens=3, registers=1, clips=4, rows=2, length=8)
  clip = make_clip(np.random.default_rng(0), batch=8)
  layout = packing.layout(clip, max_tracks=5)
  np.testing.assert_array_equal(layout.start, [0, 4] * 4)
  np.testing.assert_array_equal(layout.row, [0, 0, 1, 1] * 2)


def data(**packing):
  return dict(
    batch_size=4,
    clip=dict(frames=2, size=32, track_grid=16, max_tracks=10),
    packing=dict(clips=2, rows=1, length=24) | packing,
    train=dict(name="moving_sprites", split="train", count=6),
    loader=dict(num_threads=0),
  )


def loader(**packing):
  config = data(**packing)
  return build_loader(config, config["train"], seed=0)


def test_the_loader_attaches_the_layout():
  clips = loader(tokens="tracks")
  with clips.train() as batches:
    batch, _ = next(batches)
  counts = count_tracks(batch.clip.tracks, None, 10) + 1
  expected = plan(counts, PackedGroup(2, 1, 24))
  np.testing.assert_array_equal(batch.layout.start, expected.start)
  np.testing.assert_array_equal(batch.layout.row, expected.row)
  with clips.evaluate() as batches:
    *_, (last, _) = batches
  assert last.valid.tolist() == [True, True, False, False]
  # Rows without a clip have the registers alone.
  assert last.layout.start[2:].tolist() == [0, 1]


def test_the_loader_counts_what_changes():
  options = dict(patch=(1, 8, 8), normalization="imagenet")
  clips = loader(tokens="run_length", run_length=options, length=40)
  with clips.train() as batches:
    batch, _ = next(batches)
  counts = ChangedPatches(**options).count(batch.clip) + 1
  assert (counts > 17).all() and len(set(counts)) > 1
  expected = plan(counts, PackedGroup(2, 1, 40))
  np.testing.assert_array_equal(batch.layout.start, expected.start)


def test_an_evaluation_takes_any_batch_and_training_whole_groups():
  clips = loader(tokens=5, clips=3)
  with clips.evaluate() as batches:
    batch, _ = next(batches)
  assert batch.layout.row.shape == (4,)
  with pytest.raises(ValueError, match="divide the 4 clips of a batch"):
    clips.train()


def test_no_packing_gives_no_layout():
  config = data(tokens=5) | {"packing": None}
  clips = build_loader(config, config["train"], seed=0)
  with clips.train() as batches:
    assert next(batches)[0].layout is None


@pytest.mark.parametrize(
  ("packing", "message"),
  [
    (
      dict(tokens="words"),
      "tokens must be 'tracks', 'run_length' or at least 1, got 'words'",
    ),
    (dict(tokens=0), "or at least 1, got 0"),
    (dict(tokens=4, run_length={}), "is for tokens 'run_length', got tokens 4"),
    (
      dict(tokens="run_length", run_length=dict(slots=4)),
      "packing.run_length reads no 'slots'",
    ),
    (dict(tokens=4, registers=-1), "registers must be 0 or more, got -1"),
    (dict(tokens=4, rows=0), "packing.rows must be at least 1, got 0"),
    (dict(tokens=4, budget=1), "data.packing reads no 'budget'"),
  ],
)
def test_errors_say_what_was_expected(packing, message):
  with pytest.raises(ValueError, match=message):
    loader(**packing)


def test_tracks_must_be_there(rng):
  clip = dataclasses.replace(make_clip(rng), tracks=None)
  packing = Packing(tokens="tracks", clips=1, rows=1, length=GRID)
  with pytest.raises(ValueError, match="'tracks', and the clips have none"):
    packing.layout(clip, max_tracks=5)


def test_measure_counts_slots_and_what_is_lost():
  counts = np.array([8, 8, 8, 8, 1, 2, 3, 4])
  packed = measure(counts, plan(counts, GROUP))
  assert packed.fill == pytest.approx((24 + 10) / 48)
  assert packed.overflow == pytest.approx(8 / 42)


def test_a_suggestion_holds_new_clips_in_few_slots(rng):
  seen, new = rng.integers(4, 12, (2, 4096))
  group = suggest(seen, clips=64, overflow=2e-3)
  assert group.clips == 64 and group == suggest(seen, clips=64, overflow=2e-3)
  packed = measure(new, plan(new, group))
  assert packed.fill > 0.92 and packed.overflow < 4e-3
  # Padded to the longest, and with rows for every clip, the fill is lower.
  assert packed.fill > new.mean() / new.max() + 0.2


def test_equal_counts_leave_no_slot_empty():
  group = suggest(np.full(50, 16), clips=8)
  assert group.rows * group.length == 8 * 16


def test_a_suggestion_needs_counts():
  with pytest.raises(ValueError, match="a clip with a token"):
    suggest(np.zeros(3, int), clips=2)
  with pytest.raises(ValueError, match=r"overflow must be in \(0, 1\), got 2"):
    suggest(np.ones(3, int), clips=2, overflow=2)
