"""ViT3D of PyTorch and ours, from the same weights."""

import functools
import json
import pathlib

import numpy as np
import pytest
from drawn_inputs import vit3d_video
from drawn_weights import draw_all

from trajvit.interop import (
  kind_of,
  load_torch,
  run_reference_inputs,
  to_torch,
)

GOLDEN = pathlib.Path(__file__).parent / "golden" / "vit3d.npz"
CONFIG = dict(frames=6, size=16, num_heads=2)


@functools.cache
def golden():
  with np.load(GOLDEN) as file:
    return dict(file)


@functools.cache
def weights():
  return draw_all(json.loads(golden()["shapes"].tobytes()))


@functools.cache
def loaded(compat):
  return load_torch("vit3d", weights(), CONFIG, compat=compat)[0]


def test_the_tokens_are_the_reference_s():
  found = np.asarray(run_reference_inputs(loaded(True), vit3d_video()))
  expected = golden()["tokens"]
  assert found.shape == expected.shape
  assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_there_and_back_is_bit_exact():
  assert kind_of(weights()) == "vit3d"
  for compat in (True, False):
    run = loaded(compat)
    back = to_torch(run.plan, run.variables, run.carried)
    assert back.keys() == weights().keys()
    for name, x in weights().items():
      assert back[name].shape == x.shape, name
      assert back[name].tobytes() == x.tobytes(), name


def test_corrected_positions_are_each_patch_s_own():
  table = weights()["positional_embeddings_3d"][0]
  for compat, first in ((True, 0), (False, 1)):
    params = loaded(compat).variables["params"]
    found = np.asarray(params["tokenizer"]["positions"][0]).reshape(12, -1)
    np.testing.assert_array_equal(found, table[first : first + 12])
  token = np.asarray(params["encoder"]["registers"])
  np.testing.assert_array_equal(token, weights()["cls_token"][0] + table[:1])


def test_what_was_trained_on_goes_back():
  run = loaded(False)
  params = dict(run.variables["params"])
  moved = {k: v + 1 for k, v in params["encoder"].items() if k == "registers"}
  params["encoder"] = params["encoder"] | moved
  back = to_torch(run.plan, dict(run.variables, params=params), run.carried)
  table = back["positional_embeddings_3d"]
  np.testing.assert_array_equal(
    back["cls_token"][0] + table[0, :1], moved["registers"]
  )


def test_a_table_for_other_clips_is_refused():
  with pytest.raises(ValueError, match="has 13 rows, but clips of 16 frames"):
    load_torch("vit3d", weights(), dict(num_heads=2))
