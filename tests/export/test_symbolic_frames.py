"""Clips of other numbers of frames, for models that can read them."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import FRAMES, GRID, SIZE, TRACKS
from tiny_runs import MODEL, run_of, tiny_run

import trajvit
from trajvit.export import parity
from trajvit.export.arrays import as_frames
from trajvit.export.live import encoder_of_run
from trajvit.export.programs import flat_weights, model_programs
from trajvit.export.targets import preprocessing_of, stablehlo
from trajvit.export.write import export_run, preprocessing

STEM = dict(name="conv", stride=8, widths=(8,), depths=(1,))
OBJECTS = MODEL | dict(tokenizer=dict(name="object_tokens", stem=STEM))
# It sees two frames at a time.
TOWER = dict(
  name="towers",
  vision=dict(
    name="vit",
    width=12,
    depth=1,
    num_heads=2,
    patch=(2, 16, 16),
    class_token=False,
    position="rotary",
    pool="mean",
    frames=2,
  ),
)


@pytest.fixture(scope="module", name="tower")
def _tower(tmp_path_factory):
  """The export of a tower, its parity and its encoder."""
  out = tmp_path_factory.mktemp("tower") / "export"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parity, "BATCH_SIZES", (1,))
    export_run(run_of(TOWER), out, platforms=["cpu"])
  return out, trajvit.load(out)


def frames_of(rng, frames, batch=2):
  shape = (batch, frames, SIZE, SIZE, 3)
  return rng.integers(0, 256, shape, dtype=np.uint8)


def test_a_tower_sees_any_number_of_windows(tower, rng):
  path, encoder = tower
  assert encoder.preprocessing["any_frames"] == {"multiple_of": 2}
  for program in encoder.config["programs"]["stablehlo"].values():
    (frames,) = program["inputs"]
    assert frames["shape"] == ["b", "2*t", SIZE, SIZE, 3]
  report = json.loads((path / "parity.json").read_text())["stablehlo"]
  for found in report["max_abs_difference"].values():
    assert found.keys() == {"1", "1, 2 frames", "1, 6 frames"}
  frames = frames_of(rng, 6, batch=1)
  alone = [encoder.encode(frames[:, i : i + 2]) for i in (0, 2, 4)]
  mean = np.mean(alone, 0)
  mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
  np.testing.assert_allclose(encoder.encode(frames), mean, atol=1e-5)


def test_a_run_takes_what_its_export_takes(tower, rng):
  _, encoder = tower
  live = encoder_of_run(run_of(TOWER))
  assert live.preprocessing == encoder.preprocessing
  frames = frames_of(rng, 6, batch=1)
  np.testing.assert_allclose(
    live.encode(frames), encoder.encode(frames), atol=1e-5
  )


@pytest.mark.slow
def test_weights_alone_take_as_many(tower, tmp_path, rng):
  path, encoder = tower
  copy = shutil.copytree(path, tmp_path / "copy")
  for program in copy.glob("*.stablehlo"):
    program.unlink()
  alone = trajvit.load(copy)
  frames = frames_of(rng, 6, batch=1)
  np.testing.assert_allclose(
    alone.encode(frames), encoder.encode(frames), atol=1e-5
  )
  with pytest.raises(ValueError, match="T must be a multiple of 2"):
    alone.encode(frames[:, :5])


def test_windows_of_a_long_video_may_have_more_frames(tower, rng):
  _, encoder = tower
  video = frames_of(rng, 12, batch=1)[0]
  options = dict(window=1.2, stride=1.2, fps=10)
  ((_, found),) = encoder.encode_long(video, frames=6, **options)
  # The first of two frames is the middle of their interval, rounded down.
  np.testing.assert_allclose(found[0], encoder.encode(video[::2]), atol=1e-5)
  with pytest.raises(ValueError, match="frames must be T, got 5; T must be a"):
    next(encoder.encode_long(video, frames=5, **options))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_part_of_a_window_is_refused(tower, count):
  _, encoder = tower
  video = np.zeros((1, count, SIZE, SIZE, 3), np.uint8)
  with pytest.raises(
    ValueError,
    match=rf"\[T, {SIZE}, {SIZE}, 3\], got .*; T must be a multiple of 2",
  ):
    encoder.encode(video)


def test_trajectories_of_any_length(rng):
  run = run_of(OBJECTS)
  model = nnx.eval_shape(run.build)
  clip = preprocessing(run, model)
  assert clip["any_frames"] == {"multiple_of": 1}
  program = model_programs(model, clip, "portable")["tokenize"]
  weights = flat_weights(run.variables)
  exported = stablehlo.export_program(program, weights, ["cpu"])
  frames = frames_of(rng, FRAMES + 3)
  shape = (*frames.shape[:2], GRID, GRID)
  tracks = rng.integers(-1, TRACKS, shape, dtype=np.int32)
  found = exported.call(weights, frames, tracks)
  expected = jax.jit(program.call)(weights, frames, tracks)
  for name, array in expected.items():
    np.testing.assert_allclose(found[name], array, atol=1e-5)
  with pytest.raises(ValueError, match="inconsistency between dimension size"):
    exported.call(weights, frames, tracks[:, :-1])


@pytest.mark.parametrize(
  ("tokenizer", "reason"),
  [
    (dict(name="trajectory_light"), "4 frames, a learned vector each"),
    (dict(name="tubelet", patch=(2, 8, 8)), r"\(2, 4, 4\) tubelets"),
  ],
  ids=lambda x: x["name"] if isinstance(x, dict) else "",
)
def test_a_model_for_one_number_says_why(tokenizer, reason):
  run = tiny_run(tokenizer=tokenizer)
  clip = preprocessing(run, nnx.eval_shape(run.build))
  video = np.zeros((1, 2 * FRAMES, SIZE, SIZE, 3), np.uint8)
  with pytest.raises(
    ValueError,
    match=rf"\[4, 32, 32, 3\], got .*; no other number of frames: .*{reason}",
  ):
    as_frames(video, clip)


def test_a_target_may_fix_the_number(tower, monkeypatch):
  _, encoder = tower
  clip = encoder.preprocessing
  assert preprocessing_of("stablehlo", clip) == clip
  monkeypatch.setattr(stablehlo, "ANY_FRAMES", False)
  fixed = preprocessing_of("stablehlo", clip)
  assert fixed["any_frames"] == {
    "refused": "programs of stablehlo have the number in them"
  }
  assert fixed["frames"] == clip["frames"] == FRAMES
