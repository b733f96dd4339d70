"""Pictures of attention masks: of patterns, registers and packed rows."""

import json

import numpy as np
import pytest
from run_directory import sprites
from tiny import FRAMES, GRID, SIZE, TRACKS, WORDS

from trajvit.report import masks


def test_a_pattern_is_that_of_its_grid():
  spec = dict(name="frame_causal", grid=(2, 1, 2), block=128)
  allowed = masks.grid_mask(spec)
  frame = np.array([0, 0, 1, 1])
  np.testing.assert_array_equal(allowed, frame[:, None] >= frame)


def test_registers_read_patches_and_those_before_them():
  spec = dict(name="registers", num_registers=2, patch=(2, 4, 4))
  allowed = masks.register_mask(spec, (4, 4))  # 2 patches, 2 registers
  expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
  np.testing.assert_array_equal(allowed, np.array(expected, bool))


def test_a_run_has_what_its_config_has(tmp_path):
  config = dict(
    seed=0,
    total_steps=1,
    log_every=1,
    compilation_cache="none",
    data=dict(
      batch_size=2,
      clip=dict(frames=FRAMES, size=SIZE, track_grid=GRID, max_tracks=TRACKS),
      text=dict(name="words", vocabulary=["red", "ball"], length=WORDS),
      packing=dict(tokens=3, clips=2, rows=1, length=9),
    ),
    model=dict(
      name="video_text",
      tokenizer=dict(name="tubelet"),
      encoder=dict(pattern=dict(name="dense", grid=(1, 1, 2))),
    ),
    objectives={},
    optimizer=dict(learning_rate=1e-3, warmup_steps=1),
    checkpoint=dict(every=1),
    evals=dict(static=dict(name="retrieval", data=sprites())),
  )
  (tmp_path / "config.json").write_text(json.dumps(config))
  found = masks.masks_of(tmp_path)
  assert list(found) == ["pattern of the encoder", "first packed row"]
  # Two clips of three tokens and a class token, and an empty slot.
  clip = np.array([0, 0, 0, 0, 1, 1, 1, 1, -1])
  expected = (clip[:, None] == clip) & (clip >= 0)
  np.testing.assert_array_equal(found["first packed row"], expected)


def test_a_mask_is_not_drawn_for_too_many_tokens():
  with pytest.raises(ValueError, match="up to 4096 tokens, got 8192"):
    masks.grid_mask(dict(name="dense", grid=(2, 64, 64)))


def test_a_picture_has_a_square_a_pair():
  image = masks.draw(np.eye(2, dtype=bool))
  assert image.shape == (320, 320, 3)
  assert (image[0, 0] == image[-1, -1]).all()
  assert (image[0, 0] < image[0, -1]).all()
