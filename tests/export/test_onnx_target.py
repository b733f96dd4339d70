"""ONNX programs: run by ONNX Runtime they are the model, whatever the batch."""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLIP_SHAPE, GRID, make_clip
from tiny_runs import tiny_run

import trajvit
from trajvit.export import parity
from trajvit.export.targets import TARGETS
from trajvit.export.targets.program import Program
from trajvit.export.write import export_run

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("jax2onnx")
TARGET = TARGETS["onnx"]
PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()


@pytest.fixture(
  scope="module",
  params=[
    dict(tokenizer=dict(name="tubelet", patch=(2, 8, 8))),
    pytest.param({}, marks=pytest.mark.slow, id="trajectories"),
  ],
)
def exported(request, tmp_path_factory):
  """An export that `export_run` found equal to the model."""
  out = tmp_path_factory.mktemp("onnx") / "export"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parity, "BATCH_SIZES", (2,))
    export_run(tiny_run(**request.param), out, targets=("onnx",))
  return out


def written(directory, call, weights=(), **inputs):
  """One program, written; and what loads it."""
  programs = {"encode": Program(call, inputs)}
  found = TARGET.write(directory, programs, dict(weights), platforms=())
  config = {"programs": {"onnx": found}}
  return found["encode"], lambda: TARGET.load(directory, config, {})["encode"]


def arrays(directory, rng, batch=3) -> dict:
  """What the encoder in a directory reads of random clips."""
  clip = make_clip(rng, batch)
  reads = json.loads((directory / "preprocessor_config.json").read_text())
  tracks = {} if reads["tracks"] is None else {"tracks": clip.tracks}
  return {"frames": clip.frames} | tracks


def test_it_says_what_it_is(exported, rng):
  config = json.loads((exported / "config.json").read_text())
  report = json.loads((exported / "parity.json").read_text())["onnx"]
  assert report["tolerance"] == 1e-4
  programs = config["programs"]["onnx"]
  assert programs.keys() == {"encode", "tokenize", "encode_text"}
  assert report["max_abs_difference"].keys() == programs.keys()
  for name, signature in programs.items():
    model = onnx.load(exported / signature["file"])
    assert (model.producer_name, model.graph.name) == ("trajvit", name)
    assert model.producer_version == trajvit.__version__
    assert not model.functions
    assert {x.domain for x in model.opset_import} == {""}
  session = onnxruntime.InferenceSession(exported / "encode.onnx")
  shapes = {x.name: x.shape for x in session.get_inputs()}
  known = dict(frames=[*CLIP_SHAPE, 3], tracks=[CLIP_SHAPE[0], GRID, GRID])
  assert shapes == {k: ["b", *known[k]] for k in arrays(exported, rng)}
  (output,) = session.get_outputs()
  assert (output.name, output.shape) == ("embedding", ["b", 8])


def test_a_clip_alone_equals_the_clip_in_a_batch(exported, rng):
  encoder = trajvit.load(exported, runtime="onnx")
  clips = arrays(exported, rng, batch=5).values()
  together, tokens = encoder.encode(*clips), encoder.tokenize(*clips)
  assert tokens.mask.dtype == bool and tokens.positions.shape[2] == 3
  for i in (0, 4):
    clip = [x[i] for x in clips]
    alone, token = encoder.encode(*clip), encoder.tokenize(*clip)
    assert isinstance(alone, jax.Array)
    np.testing.assert_allclose(alone, together[i], atol=1e-5)
    np.testing.assert_allclose(token.features, tokens.features[i], atol=1e-5)
  embedding = encoder.encode_text(["red ball", "green"])
  np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_a_loaded_program_runs_under_jit(tmp_path, rng):
  signature, load = written(
    tmp_path,
    lambda weights, x: {"sum": x.sum(1), "first": x[:, 0] > weights["w"]},
    {"w": np.float32([0.5])},
    x=(np.float32, (3,)),
  )
  assert list(signature["outputs"]) == ["first", "sum"]
  x = rng.random((4, 3), np.float32)
  for call in (load(), jax.jit(load())):
    outputs = call({}, x)
    np.testing.assert_allclose(outputs["sum"], x.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(outputs["first"], x[:, 0] > 0.5)


def test_the_batch_may_be_indexed(tmp_path, rng):
  def call(weights, x, places):
    del weights
    rows = jnp.arange(x.shape[0])[:, None]
    return {"read": x[rows, places], "kept": x.at[rows, places].set(0.0)}

  inputs = dict(x=(np.float32, (7, 3)), places=(np.int32, (2,)))
  _, load = written(tmp_path, call, **inputs)
  x = rng.random((4, 7, 3), np.float32)
  places = rng.integers(0, 7, (4, 2), np.int32)
  outputs = load()({}, x, places)
  rows = np.arange(4)[:, None]
  np.testing.assert_array_equal(outputs["read"], x[rows, places])
  x[rows, places] = 0
  np.testing.assert_array_equal(outputs["kept"], x)


def test_large_weights_lie_beside_the_program(tmp_path, monkeypatch, rng):
  monkeypatch.setattr(TARGET, "INSIDE", 1000)
  weights = {"w": rng.random((32, 32), np.float32)}
  _, load = written(
    tmp_path,
    lambda weights, x: x @ weights["w"],
    weights,
    x=(np.float32, (32,)),
  )
  names = {file.name for file in tmp_path.iterdir()}
  assert names == {"encode.onnx", "encode.onnx.data"}
  x = rng.random((2, 32), np.float32)
  np.testing.assert_allclose(load()({}, x), x @ weights["w"], rtol=1e-5)


def test_weights_of_eight_bits_stay_so(tmp_path, rng):
  weights = {"w": rng.integers(-127, 128, (256, 256), np.int8)}
  _, load = written(
    tmp_path,
    lambda weights, x: x @ (weights["w"].astype(np.float32) * 0.1),
    weights,
    x=(np.float32, (256,)),
  )
  assert (tmp_path / "encode.onnx").stat().st_size < 1.2 * weights["w"].nbytes
  x = rng.random((2, 256), np.float32)
  expected = x @ (weights["w"] * np.float32(0.1))
  np.testing.assert_allclose(load()({}, x), expected, rtol=1e-4, atol=1e-3)


REFUSED = {
  "random_bits": lambda _, x: x + jax.random.normal(jax.random.key(0), x.shape),
  "pad": lambda _, x: jax.lax.pad(x, 0.0, [(0, 0, 0), (0, 0, 1)]),
}


@pytest.mark.parametrize("primitive", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(tmp_path, primitive):
  with pytest.raises(
    ValueError, match=f"encode cannot be converted .* primitive '{primitive}'"
  ):
    written(tmp_path, REFUSED[primitive], x=(np.float32, (3,)))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut short", "other inputs", "nothing"])
def test_a_damaged_program_is_refused(tmp_path, damage):
  _, load = written(tmp_path, lambda _, x: jnp.sin(x), x=(np.float32, (3,)))
  file = tmp_path / "encode.onnx"
  if damage == "cut short":
    file.write_bytes(file.read_bytes()[:-20])
  elif damage == "nothing":
    file.write_bytes(b"")
  else:
    written(tmp_path, lambda _, y: jnp.cos(y), y=(np.float32, (3,)))
  with pytest.raises(ValueError, match="encode.onnx"):
    load()


@pytest.mark.parametrize("missing", ["jax2onnx", "onnxruntime"])
def test_a_missing_library_is_named(tmp_path, monkeypatch, missing):
  monkeypatch.setitem(sys.modules, missing, None)
  with pytest.raises(ImportError, match=rf"{missing}.*trajvit\[onnx\]"):
    written(tmp_path, lambda _, x: x + 1, x=(np.float32, (3,)))[1]()


def test_the_code_of_the_card_runs(exported, rng):
  config = json.loads((exported / "config.json").read_text())
  inputs = arrays(exported, rng)
  names = dict(directory=exported, **inputs)
  exec(TARGET.usage(config["programs"]["onnx"]), names)
  encoder = trajvit.load(exported)
  expected = encoder.encode(*inputs.values())
  np.testing.assert_allclose(names["outputs"][0], expected, atol=1e-6)


def test_the_code_of_the_page_runs(exported, rng):
  _, rest = PAGE.split("\n## Without trajvit: ONNX Runtime\n")
  code = re.search("```python\n(.*?)```", rest, re.S)[1]
  assert set(re.findall(r"^import (\w+)", code, re.M)) == {
    "numpy",
    "onnxruntime",
  }
  inputs, encoder = arrays(exported, rng), trajvit.load(exported)
  if "tracks" not in inputs:
    code = code.replace(', "tracks": tracks', "")
  ids, mask = np.array([[4, 5, 0, 0, 0, 0]], np.int32), np.arange(6)[None] < 2
  names = dict(directory=exported, ids=ids, mask=mask, **inputs)
  exec(code, names)
  expected = encoder.encode(*inputs.values())
  np.testing.assert_allclose(names["video"], expected, atol=1e-6)
  expected = encoder.encode_text(ids, mask)
  np.testing.assert_allclose(names["text"], expected, atol=1e-6)
  assert names["nearest"].shape == (1,)
  files = {file.name for file in exported.glob("*.onnx")}
  assert len(files) == 3 and all(f"`{file}`" in PAGE for file in files)
