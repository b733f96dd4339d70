"""VideoPrism from the released npz files: the same numbers, and back again."""

import json

import jax
import numpy as np
import pytest
from test_released_towers import close
from transformers_oracles import inputs_of
from videoprism_numpy import ENCODER, GRID, LENGTH, SHAPES, text, video

from trajvit import cli
from trajvit.interop import kind_of, load_torch, read_state_dict, to_torch
from trajvit.interop.load import model_of
from trajvit.training.restore import restore_run
from trajvit.types import Batch, Clip, Text

CONFIG = dict(text_length=LENGTH)


def drawn(shapes):
  rng = np.random.default_rng(0)
  return {
    name: rng.normal(scale=0.4, size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


@pytest.fixture(scope="module")
def arrays():
  """As in a file: all paths begin alike."""
  return {f"params/{name}": x for name, x in drawn(SHAPES).items()}


@pytest.fixture(scope="module")
def encoder():
  return drawn(ENCODER)


@pytest.fixture(scope="module")
def converted(arrays):
  return load_torch("videoprism", arrays, CONFIG)


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype and found[name].shape == x.shape
    assert found[name].tobytes() == x.tobytes(), name


def test_both_towers_do_as_the_formulas(arrays, converted):
  run, report = converted
  assert report.used == tuple(sorted(arrays)) and not report.missing
  assert kind_of(arrays) == "videoprism"
  inputs = inputs_of("videoprism", 3)
  levels = np.random.default_rng(1).integers(0, 256, inputs.frames.shape)
  words = Text(inputs.ids, inputs.mask)
  outputs = jax.jit(model_of(run))(Batch(Clip(levels.astype(np.uint8)), words))
  wide = {name: x.astype(np.float64) for name, x in drawn(SHAPES).items()}
  features, pooled = video(wide, levels / 255)
  close(outputs["tokens"].features, features)
  close(outputs["video_embedding"], unit(pooled))
  read = text(wide, inputs.ids, inputs.mask)
  close(outputs["text_embedding"], unit(read))


def test_an_npz_becomes_a_run_and_an_npz_again(encoder, tmp_path, capsys):
  source, out, back = (tmp_path / x for x in ("w.npz", "run", "back.npz"))
  np.savez_compressed(source, **encoder)
  config = ["--config", json.dumps(dict(frames=2, size=12))]
  assert cli.main(["convert", str(source), str(out), *config]) == 0
  assert "videoprism, corrected" in capsys.readouterr().out
  run = restore_run(out)
  assert run.meta["model_context"]["clip_shape"] == [2, 12, 12]
  vision = run.config.model["vision"]
  assert vision["frames"] == 2 and tuple(vision["grid"]) == GRID
  assert "text" not in run.config.model
  command = ["convert", str(out), str(back), "--to", "npz"]
  assert cli.main(command) == 0
  with np.load(back) as file:
    same(dict(file), encoder)
  same(read_state_dict(back), encoder)
  for to, name in (("npz", "a.pth"), ("torch", "a.npz")):
    command[2:] = [str(tmp_path / name), "--to", to]
    assert cli.main(command) == 2
    assert f"--to {to} writes files that end in" in capsys.readouterr().err


def test_what_was_trained_since_goes_back(arrays, converted):
  run, _ = converted
  same(to_torch(run.plan, run.variables, run.carried), arrays)
  trained = jax.tree.map(lambda x: x, run.variables)
  norm = trained["params"]["vision"]["spatial_norm"]
  norm["scale"] = norm["scale"] + 1
  back = to_torch(run.plan, trained, run.carried)
  name = "params/vision_encoder/spatial_ln/scale"
  np.testing.assert_allclose(back[name], arrays[name] + 1, atol=1e-6)
  back[name] = arrays[name]
  same(back, arrays)


def test_what_does_not_fit_is_named(encoder):
  query = "temporal_encoder/transformers_stack/x_layers/self_attention/query/b"
  scale, ones = "spatial_ln/scale", np.ones(3, np.float32)
  without = {name: x for name, x in encoder.items() if name != query}
  for state, config, message in (
    (without, {}, f"1 arrays are unmatched.*missing  {query}"),
    (encoder | {"x": ones}, {}, "extra    x"),
    (encoder | {query: encoder[query].swapaxes(1, 2)}, {}, "expected 2 heads"),
    (encoder | {scale: ones}, {}, f"{scale} ..3.. gives .3., but .* .12."),
    (encoder, dict(num_heads=3), "num_heads is 3, .* are of 2 heads"),
    (encoder, dict(size=10), "patch 4 must divide the size 10"),
  ):
    with pytest.raises(ValueError, match=f"(?s){message}"):
      load_torch("videoprism", state, config)
