"""The command that draws what comes back from so many tokens."""

import numpy as np
import pytest
from PIL import Image
from run_directory import STEP, sprites, write_run
from tiny import CLIP_SHAPE, FRAMES

from trajvit import cli
from trajvit.data.overlay import legible
from trajvit.report.reconstruct import (
  RemadeClips,
  frame_panels,
  remake_clips,
  write_pictures,
)
from trajvit.types import Batch, Clip

MODEL = dict(
  name="autoencoder",
  tokenizer=dict(name="registers", num_registers=4, depth=1),
  width=16,
  num_heads=2,
  reconstruction=dict(
    dim=2,
    quantizer=dict(name="fsq", levels=(4, 4)),
    decoder=dict(name="pixel", patch=(2, 16, 16), inner_width=16, depth=1),
  ),
)
EVALS = dict(
  cost=dict(data=sprites(tracks="none")),
  back=dict(name="reconstruction", data=sprites(), budgets=[1, 3]),
)


def remade(made, *, names=("a", "b"), run="run"):
  """What `remake_clips` returns, of clips that are there in memory."""
  rng = np.random.default_rng(0)
  rows = len(names)
  frames = rng.integers(0, 256, (rows, *CLIP_SHAPE, 3), dtype=np.uint8)
  times = np.tile(np.arange(FRAMES, dtype=np.float32), (rows, 1))
  batch = Batch(clip=Clip(frames, times=times), valid=np.ones(rows, bool))
  made = {k: off + frames for k, off in made.items()}
  tokens = {k: 8.0 if k is None else 2.0 * k for k in made}
  return RemadeClips(run, STEP, "back", names, batch, made, tokens)


def test_a_row_for_each_run_and_budget():
  one, other = remade({1: 10, 4: 3}), remade({None: 1}, run="other")
  one.batch.valid[0] = False
  panels = frame_panels([one, other], 2)
  assert [(panel.title, panel.detail) for panel in panels] == [
    ("original", "1 clips of back"),
    ("run, k = 1", "step 7, 2 tokens a clip"),
    ("run, k = 4", "step 7, 8 tokens a clip"),
    ("other, all tokens", "step 7, 8 tokens a clip"),
  ]
  original = legible(one.batch.clip.frames[1:, 2])
  for panel, off in zip(panels, (0, 10, 3, 1), strict=True):
    np.testing.assert_array_equal(panel.frames, original + np.uint8(off))


def test_a_picture_has_all_clips_and_the_animation_all_frames(tmp_path):
  names = tuple("abcdefghi")
  few, many = remade({2: 0}), remade({2: 0, 4: 5}, names=names)
  paths = write_pictures([few], tmp_path / "few", gif=True)
  assert [path.name for path in paths] == ["back.png", "back.gif"]
  (wide,) = write_pictures([many], tmp_path / "many")
  side = legible(few.batch.clip.frames[0]).shape[1]
  with Image.open(paths[0]) as picture, Image.open(wide) as wider:
    assert picture.width > 2 * side and wider.width > 9 * side
    assert picture.height > 2 * side and wider.height > 3 * side
    middle = np.asarray(picture)
  with Image.open(paths[1]) as animation:
    assert animation.n_frames == FRAMES
    assert animation.size == middle.shape[1::-1]


def test_runs_that_look_at_other_clips_are_refused(tmp_path):
  one, other = remade({1: 0}), remade({1: 0}, names=("a", "c"), run="other")
  with pytest.raises(ValueError, match="run and other look at different clips"):
    write_pictures([one, other], tmp_path / "out")
  assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("runs") / "ours", MODEL, EVALS)


@pytest.mark.slow
def test_budgets_are_those_of_the_evaluation(run_path):
  found = remake_clips(run_path, None, 2)
  assert (found.run, found.step, found.evaluation) == ("ours", STEP, "back")
  assert found.tokens == {1: 1.0, 3: 3.0}
  assert found.made[1].shape == (2, *CLIP_SHAPE, 3)
  assert found.made[1].dtype == np.uint8 and found.made[1].std() > 5
  assert (found.made[1] != found.made[3]).mean() > 0.1


def test_the_command_says_what_is_wrong(tmp_path, run_path, capsys):
  for options, message in (
    (["--budgets", "0,1"], "ours: budgets must be at least 1, got (0, 1)"),
    (["--eval", "davis"], "config: davis; known: cost, back"),
    (["--clips", "0"], "clips must be at least 1, got 0"),
  ):
    command = ["reconstruct", run_path, "--out", str(tmp_path / "out")]
    assert cli.main([*command, *options]) == 2
    assert message in capsys.readouterr().err
  assert not (tmp_path / "out").exists()
