"""TrajTok's segmenter and TrajViT2 of PyTorch and ours, on the same weights."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from drawn_inputs import text_inputs, trajvit_inputs
from drawn_weights import draw_all

from trajvit.interop import (
  kind_of,
  load_torch,
  run_reference_inputs,
  to_torch,
)
from trajvit.interop.load import model_of
from trajvit.types import Text

FOLDER = pathlib.Path(__file__).parent / "golden"
CLIP = dict(frames=3, size=64)
HEADS = CLIP | dict(num_heads=2, text_heads=2, text_length=5)


@functools.cache
def golden(name):
  with np.load(FOLDER / f"{name}.npz") as file:
    return dict(file)


@functools.cache
def weights(name):
  return draw_all(json.loads(golden(name)["shapes"].tobytes()))


@functools.cache
def segmenter():
  return load_torch("trajtok-segmenter", weights("segmenter"), CLIP)


@functools.cache
def trajvit2(compat):
  return load_torch("trajvit2", weights("trajvit2"), HEADS, compat=compat)


def assert_close(found, expected):
  assert found.shape == expected.shape
  assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def assert_same_bits(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype, name
    assert found[name].shape == x.shape, name
    assert found[name].tobytes() == x.tobytes(), name


def test_the_logits_are_the_reference_s():
  run, _ = segmenter()
  assert run.config.model["position"] == "rotary_1d"
  found = run_reference_inputs(run, trajvit_inputs()["video"])
  assert_close(np.asarray(found), golden("segmenter")["logits"])


@pytest.mark.slow
def test_the_logits_of_pixels_are_the_reference_s():
  model = model_of(segmenter()[0])
  fine = jax.jit(lambda x: model.segmenter(x, train=True).high_logits)(
    np.moveaxis(trajvit_inputs()["video"], 2, -1)
  )
  assert_close(np.mean(fine, (1, 2, 3)), golden("segmenter")["fine"])


def test_the_tokens_of_trajvit2_are_the_reference_s():
  run, _ = trajvit2(True)
  found = run_reference_inputs(run, trajvit_inputs()["video"])
  assert_close(np.asarray(found), golden("trajvit2")["tokens"])


@pytest.mark.slow  # the same tower as TrajViT's
def test_the_text_tower_of_trajvit2_is_the_reference_s():
  model, found = model_of(trajvit2(True)[0]), text_inputs()
  text = Text(ids=found["ids"].astype(np.int32), mask=found["real"])
  expected = golden("trajvit2")["z_t"]
  assert_close(np.asarray(jax.jit(model.encode_text)(text)), expected)


def test_the_corrected_model_has_other_tokens():
  pool = trajvit2(False)[0].config.model["tokenizer"]["pool"]
  assert not pool["leak_last_two"]
  assert not pool["keep_empty"]


@pytest.mark.slow
def test_corrected_slots_without_a_cell_have_no_token():
  run, _ = trajvit2(False)
  found = np.asarray(run_reference_inputs(run, trajvit_inputs()["video"]))
  empty = (found == 0).all(-1)
  assert empty.any()
  assert not empty.all(1).any()


def test_there_and_back_is_bit_exact():
  runs = {"segmenter": segmenter()[0], "trajvit2": trajvit2(True)[0]}
  for name, run in runs.items():
    found = to_torch(run.plan, run.variables, run.carried)
    assert_same_bits(found, weights(name))


def test_kinds_are_told_by_their_names():
  assert kind_of(weights("segmenter")) == "trajtok-segmenter"
  assert kind_of(weights("trajvit2")) == "trajvit2"
  tower = {
    name.removeprefix("vision_encoder."): x
    for name, x in weights("trajvit2").items()
    if name.startswith("vision_encoder.")
  }
  assert kind_of(tower) == "trajvit2"
  run, _ = load_torch("trajvit2", tower, CLIP | dict(num_heads=2))
  assert_same_bits(to_torch(run.plan, run.variables, run.carried), tower)
