"""A connector to a language model is exported like any encoder."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, TRACKS, drawn
from tiny_runs import CONFIG, CONTEXT, STEP

import trajvit
from trajvit.export.programs import model_programs
from trajvit.export.write import export_run, preprocessing
from trajvit.models import build_model
from trajvit.training.config import read_config
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun
from trajvit.types import Clip

STEM = dict(name="conv", stride=8, widths=(8,), depths=(1,))
MODEL = dict(
  name="connector",
  features=dict(name="stem", stem=STEM, width=24),
  # 24 pixels in cells of 4: logits on 6 x 6 cells, features on 4 x 4.
  segmenter=dict(
    stem=STEM | dict(stride=4), width=24, num_slots=3, num_heads=2, depth=1
  ),
  size=24,
  llm_width=10,
  frames_per_pool=2,
  num_heads=2,
  depth=1,
)


def run_of(model) -> RestoredRun:
  read = read_config(CONFIG | dict(model=model))

  def build():
    return build_model(read.model, seed=0, **CONTEXT)

  _, apply = functional(build)
  params = nnx.to_pure_dict(nnx.split(drawn(build))[1])
  variables = {"params": params, "batch_stats": {}}
  meta = dict(model_context=CONTEXT, commit=None)
  return RestoredRun(read, build, apply, variables, STEP, False, meta)


@pytest.mark.slow
def test_it_comes_back_equal(tmp_path, rng):
  run = run_of(MODEL)
  config, _ = export_run(run, tmp_path / "out", platforms=["cpu"])
  assert config["programs"]["stablehlo"].keys() == {"encode"}
  assert config["programs"]["stablehlo"]["encode"]["outputs"] == {
    "features": {"dtype": "float32", "shape": ["b", 6, 10]},
    "mask": {"dtype": "bool", "shape": ["b", 6]},
  }
  saved = json.loads((tmp_path / "out/preprocessor_config.json").read_text())
  assert saved["tracks"] is None and saved["text"] is None

  encoder = trajvit.load(tmp_path / "out")
  frames = rng.integers(0, 256, (3, *CLIP_SHAPE, 3), dtype=np.uint8)
  model = drawn(run.build)
  expected = jax.jit(model.encode_video)(Clip(frames))
  got = encoder.encode(frames)
  np.testing.assert_allclose(got["features"], expected["features"], atol=1e-5)
  np.testing.assert_array_equal(got["mask"], expected["mask"])
  alone = encoder.encode(frames[1])
  np.testing.assert_allclose(alone["features"], got["features"][1], atol=1e-5)
  with pytest.raises(ValueError, match="no program 'tokenize'; it has encode"):
    encoder.tokenize(frames)


def test_given_tracks_are_an_input():
  run = run_of(MODEL | dict(segmenter=None))
  model = nnx.eval_shape(run.build)
  clip = preprocessing(run, model)
  assert clip["tracks"]["max_tracks"] == TRACKS
  programs = model_programs(model, clip)
  assert programs["encode"].inputs.keys() == {"frames", "tracks"}
