"""Writing an export: other tokenizers, and what must not be written."""

import jax
import numpy as np
import pytest
from tiny import CLIP_SHAPE
from tiny_runs import tiny_run

import trajvit
from trajvit.export import write
from trajvit.export.write import export_run

TUBELET = dict(name="tubelet", patch=(2, 16, 16))


def test_an_encoder_without_tracks(tmp_path, rng):
  run = tiny_run(tokenizer=TUBELET, dtype="bfloat16")
  config, parity = export_run(run, tmp_path / "out", platforms=["cpu"])
  assert config["programs"]["stablehlo"]["encode"]["platforms"] == ["cpu"]
  assert parity["stablehlo"]["tolerance"] > 1e-5
  encoder = trajvit.load(tmp_path / "out")
  video = rng.integers(0, 256, CLIP_SHAPE + (3,), dtype=np.uint8)
  embedding = encoder.encode(video)
  assert (embedding.shape, embedding.dtype) == ((8,), np.float32)
  tokens = encoder.tokenize(video)
  assert tokens.features.shape == (8, 16)
  assert tokens.mask.all()
  with pytest.raises(ValueError, match="reads no tracks"):
    encoder.encode(video, np.zeros((4, 16, 16), np.int32))


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
  def wrong(variables):
    weights = flat_weights(variables)
    name = "params/project_video/kernel"
    return weights | {name: weights[name] + np.float32(0.01)}

  flat_weights = write.flat_weights
  monkeypatch.setattr(write, "flat_weights", wrong)
  with pytest.raises(ValueError, match="differs from the model by more than"):
    export_run(tiny_run(tokenizer=TUBELET), tmp_path / "out")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("platforms", [["tpu"], ["cpu", "rocm"], []])
def test_platforms_are_checked_first(tmp_path, platforms):
  with pytest.raises(ValueError, match="platforms must be cpu.*; got"):
    export_run(tiny_run(), tmp_path / "out", platforms=platforms)
  assert not list(tmp_path.iterdir())


def test_an_encoder_without_text(tmp_path, monkeypatch, rng):
  """A model that has no text tower has no program for it."""
  run = tiny_run(tokenizer=TUBELET)
  monkeypatch.delattr("trajvit.models.video_text.VideoText.encode_text")
  config, parity = export_run(run, tmp_path / "out", platforms=["cpu"])
  assert config["programs"]["stablehlo"].keys() == {"encode", "tokenize"}
  with pytest.raises(ValueError, match="no text tower"):
    trajvit.load(tmp_path / "out").encode_text("red")
  assert jax.tree.leaves(parity["stablehlo"]["max_abs_difference"])
