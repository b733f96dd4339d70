"""TrajViT of PyTorch and ours, from the same weights."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from drawn_inputs import text_inputs, trajvit_inputs
from drawn_weights import draw_all

from trajvit.interop import load_torch, run_reference_inputs, to_torch
from trajvit.interop.load import model_of
from trajvit.types import Text

GOLDEN = pathlib.Path(__file__).parent / "golden" / "trajvit.npz"
CONFIG = dict(frames=3, size=64, max_tracks=4, text_heads=2, text_length=5)


@functools.cache
def golden():
  with np.load(GOLDEN) as file:
    return dict(file)


@functools.cache
def weights():
  return draw_all(json.loads(golden()["shapes"].tobytes()))


@functools.cache
def loaded(compat=True):
  return load_torch("trajvit-torch", weights(), CONFIG, compat=compat)


def reference(run):
  return run_reference_inputs(run, **trajvit_inputs())


def assert_close(found, expected):
  assert found.shape == expected.shape
  assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_tokens_are_the_reference_s():
  tokens = np.asarray(reference(loaded()[0]))
  assert_close(tokens, golden()["tokens"])


def test_the_embeddings_of_captions_are_the_reference_s():
  model, found = model_of(loaded()[0]), text_inputs()
  text = Text(ids=found["ids"].astype(np.int32), mask=found["real"])
  assert_close(np.asarray(jax.jit(model.encode_text)(text)), golden()["z_t"])


def test_there_and_back_is_bit_exact():
  for compat in (True, False):
    run, report = loaded(compat)
    back = to_torch(run.plan, run.variables, run.carried)
    assert back.keys() == weights().keys()
    for name, x in weights().items():
      assert back[name].dtype == x.dtype, name
      assert back[name].shape == x.shape, name
      assert back[name].tobytes() == x.tobytes(), name
    assert not report.extra
    assert not report.missing


def test_the_corrected_model_is_another_one():
  run, _ = loaded(compat=False)
  spec = run.config.model
  assert spec["encoder"]["passes"] == 1
  assert spec["encoder"]["final_norm"]
  assert spec["tokenizer"]["position_bank"] == "separate"
  norm = run.variables["params"]["encoder"]["norm"]["scale"]
  name = "vision_encoder.vision_encoder.vit.layernorm.weight"
  np.testing.assert_array_equal(norm, weights()[name])


def test_a_tower_alone_needs_no_text():
  prefix = "vision_encoder."
  tower = {
    name.removeprefix(prefix): x
    for name, x in weights().items()
    if name.startswith(prefix)
  }
  config = dict(frames=3, size=64, max_tracks=4)
  run, _ = load_torch("trajvit-torch", tower, config, compat=True)
  assert run.config.model["name"] == "video_encoder"
  assert to_torch(run.plan, run.variables, run.carried).keys() == tower.keys()
  with pytest.raises(ValueError, match="num_heads is 4, .* is for 2"):
    load_torch("trajvit-torch", tower, config | dict(num_heads=4))


def test_what_is_unmatched_is_refused():
  arrays = dict(weights())
  lost = "vision_encoder.appearance_tokenizer.layer_norm.bias"
  del arrays[lost]
  arrays["more.weight"] = np.zeros(2, np.float32)
  with pytest.raises(ValueError, match="2 arrays are unmatched") as caught:
    load_torch("trajvit-torch", arrays, CONFIG)
  assert f"missing  {lost}" in str(caught.value)
  assert "extra    more.weight" in str(caught.value)
  arrays = weights() | {lost: np.zeros(31, np.float32)}
  with pytest.raises(ValueError, match=r"\[\[31\]\] gives \[31\], .* \[32\]"):
    load_torch("trajvit-torch", arrays, CONFIG)
  with pytest.raises(ValueError, match="reads no 'widht'"):
    load_torch("trajvit-torch", weights(), dict(widht=3))
  with pytest.raises(ValueError, match="unknown kind of checkpoint"):
    load_torch("trajvit", weights())
