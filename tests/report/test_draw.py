"""The command that draws what the tokens of runs own."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from run_directory import COUNT, STEP, sprites, write_run
from tiny import CLIP_SHAPE, FRAMES, GRID, SIZE, TRACKS

from trajvit import cli
from trajvit.report.draw import (
  GroupedClips,
  clip_panels,
  group_clips,
  write_pictures,
)
from trajvit.types import Batch, Clip

SEGMENTER = dict(
  name="segmenter",
  width=24,
  stem=dict(name="conv", widths=(8,), depths=(1,), stride=4),
  num_slots=6,
  num_heads=2,
  depth=1,
)
TUBELETS = dict(
  name="video_text",
  tokenizer=dict(name="tubelet", patch=(2, 16, 16)),
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)
EVALS = dict(
  cost=dict(data=sprites(tracks="none")),
  objects=dict(name="grouping", data=sprites()),
)


def grouped(assignment, *, tracks=None, names=("a", "b"), run="run"):
  """What `group_clips` returns, of clips that are there in memory."""
  rng = np.random.default_rng(0)
  rows = len(assignment)
  frames = rng.integers(0, 256, (rows, *CLIP_SHAPE, 3), dtype=np.uint8)
  times = np.tile(np.arange(FRAMES, dtype=np.float32), (rows, 1))
  clip = Clip(frames=frames, times=times, tracks=tracks)
  batch = Batch(clip=clip, valid=np.ones(rows, bool))
  return GroupedClips(run, STEP, "objects", names, batch, assignment)


@pytest.fixture
def tracks(rng):
  coarse = rng.integers(0, TRACKS, (2, FRAMES, 4, 4)).astype(np.int32)
  return coarse.repeat(GRID // 4, axis=2).repeat(GRID // 4, axis=3)


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("runs") / "ours", SEGMENTER, EVALS)


def test_tokens_that_follow_the_tracks_have_their_colours(rng, tracks):
  order = rng.permutation(9)[:TRACKS]
  perfect = grouped(order[tracks[..., ::4, ::4]], tracks=tracks)
  other = grouped(np.zeros_like(tracks), tracks=tracks, run="other")
  frames, truth, ours, theirs = clip_panels([perfect, other], 1)
  assert frames.title == "b"
  assert np.array_equal(truth.frames, ours.frames)
  assert not np.array_equal(truth.frames, theirs.frames)
  assert (ours.title, ours.detail) == ("run", "step 7, 5 tokens, VEQ 1.00")
  assert (theirs.title, theirs.detail[:16]) == ("other", "step 7, 1 tokens")


def test_without_tracks_the_first_run_gives_the_colours(tracks):
  one, other = grouped(tracks), grouped(TRACKS - tracks, run="other")
  frames, ours, theirs = clip_panels([one, other], 0)
  assert np.array_equal(ours.frames, theirs.frames)
  assert ours.detail == "step 7, 5 tokens"


def test_runs_that_look_at_other_frames_are_refused(tmp_path, tracks):
  one, other = grouped(tracks), grouped(tracks, names=("a", "c"), run="other")
  with pytest.raises(ValueError, match="run and other look at different clips"):
    write_pictures([one, other], tmp_path / "out")
  clip = dataclasses.replace(one.batch.clip, times=one.batch.clip.times + 1)
  late = dataclasses.replace(one, batch=Batch(clip=clip, valid=[True, True]))
  with pytest.raises(ValueError, match="clips or frames in objects"):
    write_pictures([one, late], tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_clip_that_cannot_be_read_is_left_out(tmp_path, tracks):
  run = grouped(tracks)
  run.batch.valid[0] = False
  assert write_pictures([run], tmp_path) == [tmp_path / "objects_1.png"]


def test_the_command_draws_every_clip_of_two_runs(tmp_path, run_path, capsys):
  theirs = write_run(tmp_path / "theirs", SEGMENTER, EVALS, seed=1)
  out = tmp_path / "out"
  command = ["draw", run_path, theirs, "--out", str(out), "--clips", "5"]
  assert cli.main([*command, "--gif"]) == 0
  written = sorted(path.name for path in out.iterdir())
  assert written == [
    f"objects_{i}.{kind}" for i in range(COUNT) for kind in ("gif", "png")
  ]
  assert all(name in capsys.readouterr().out for name in written[-1:])
  with Image.open(out / "objects_0.png") as sheet:
    assert sheet.width > 4 * 192 and sheet.height > 4 * 192
  with Image.open(out / "objects_0.gif") as animation:
    assert animation.n_frames == FRAMES and animation.width > 4 * 192


def test_the_clips_of_another_evaluation(run_path):
  found = group_clips(run_path, "cost", 2)
  assert found.batch.clip.tracks is None
  assert (found.run, found.step, found.evaluation) == ("ours", STEP, "cost")
  assert found.names == tuple(f"moving_sprites/validation/{i}" for i in (0, 1))
  assert found.assignment.shape == (2, FRAMES, SIZE // 4, SIZE // 4)


def test_says_what_is_wrong(tmp_path, run_path, capsys):
  tubelets = write_run(tmp_path / "tubelets", TUBELETS, EVALS)
  for arguments, message in (
    ([tubelets], "tubelets: grouping needs a model whose tokenizer gives an"),
    ([run_path, "--eval", "davis"], "config: davis; known: cost, objects"),
    ([run_path, "--clips", "0"], "clips must be at least 1, got 0"),
    ([str(tmp_path)], "no run directory: no config.json"),
  ):
    command = ["draw", *arguments, "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err
  assert not (tmp_path / "out").exists()
