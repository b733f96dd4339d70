"""Kernels in fewer bits: what they keep, what is said, what is refused."""

import dataclasses
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn
from tiny_runs import CONTEXT, STEP, config, tiny_run

import trajvit
from trajvit import cli
from trajvit.export import parity
from trajvit.export.accuracy import check_accuracy, cosines, evaluations_of
from trajvit.export.accuracy_table import quantisation_lines
from trajvit.export.compact import Int8
from trajvit.export.live import encoder_of_run
from trajvit.export.quantize import quantized
from trajvit.export.write import export_run
from trajvit.layers.conv import Conv
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.layers.upscale import Double
from trajvit.training.config import read_config
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun, builder

DEPTH = 6  # more layers than are unrolled
TUBELET = dict(name="tubelet", patch=(2, 16, 16))


class Layer(nnx.Module):
  def __init__(self, rngs):
    self.map = Linear(4, 4, rngs=rngs)

  def __call__(self, x):
    return self.map(x), {}


class Parts(nnx.Module):
  """One of each module that has a kernel, and arrays that are none."""

  def __init__(self):
    rngs = nnx.Rngs(params=0)
    self.linear = Linear(3, 4, rngs=rngs)
    self.layers = Stack(Layer, DEPTH, rngs=rngs)
    self.norm = LayerNorm(4)
    self.conv = Conv(4, 6, 3, groups=2, rngs=rngs)
    self.double = Double(6, 5, rngs=rngs)
    self.table = nnx.Param(jnp.ones((7, 5)))

  def __call__(self, batch, *, key=None):
    x, _ = self.layers(self.linear(batch))
    return self.double(self.conv(self.norm(x))) + self.table[0]


def run_of(build) -> RestoredRun:
  """A run of any model; its config is that of another one."""
  params = nnx.to_pure_dict(nnx.split(drawn(build))[1])
  variables = {"params": params, "batch_stats": {}}
  _, apply = functional(build)
  return RestoredRun(
    read_config(config()), build, apply, variables, STEP, False, {}
  )


@pytest.fixture(scope="module")
def parts():
  run = run_of(Parts)
  linear = run.variables["params"]["linear"]
  linear["kernel"] = linear["kernel"].at[0, 0].set(0).at[:, 1].set(0)
  return run


def kernels_of(run) -> dict:
  params = run.variables["params"]
  return {
    "linear": params["linear"]["kernel"],
    "layers": params["layers"]["layers"]["map"]["kernel"],
    "conv": params["conv"]["kernel"],
    "double": params["double"]["kernel"],
  }


def test_no_number_moves_by_more_than_half_a_step(parts):
  run = quantized(parts, "int8")
  scales = dict(
    linear=(1, 4), layers=(DEPTH, 1, 4), conv=(1, 1, 1, 6), double=(1, 2, 2, 5)
  )
  found, before = kernels_of(run), kernels_of(parts)
  for name, kernel in found.items():
    assert kernel.value.dtype == np.int8 and kernel.scale.dtype == np.float32
    assert kernel.scale.shape == scales[name]
    value, scale = (np.asarray(x, np.float64) for x in kernel)
    error = np.abs(value * scale - np.asarray(before[name]))
    assert (error <= scale / 2 * (1 + 1e-4)).all()
    assert error.max() > 0
  zeros = np.asarray(before["linear"]) == 0
  assert zeros.sum() == 4 and not np.asarray(found["linear"].value)[zeros].any()
  kept = jax.tree.leaves(run.variables)
  assert sum(x.dtype == np.int8 for x in kept) == len(found)
  assert run.meta["quantization"]["arrays"] == len(found)


def test_a_model_reads_what_was_kept(parts, rng):
  """Inside of a scan over layers and outside of it."""
  run = quantized(parts, "int8")
  read = jax.tree.map(
    lambda x: x.value * x.scale if isinstance(x, Int8) else x,
    run.variables,
    is_leaf=lambda x: isinstance(x, Int8),
  )
  x = rng.standard_normal((2, 4, 4, 3), np.float32)
  expected = jax.jit(parts.apply)(read, x)
  found = jax.jit(run.apply)(run.variables, x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def text_tower():
  """A run that has a text tower alone to export, which is quick."""
  with pytest.MonkeyPatch.context() as patch:
    for method in ("encode_video", "tokenize"):
      patch.delattr(f"trajvit.models.video_text.VideoText.{method}")
    patch.setattr(parity, "BATCH_SIZES", (1,))
    yield tiny_run(tokenizer=TUBELET)


@pytest.fixture(scope="module")
def export(text_tower, tmp_path_factory):
  """Its directory in int8; what config.json and parity.json hold."""
  path = tmp_path_factory.mktemp("int8") / "out"
  return path, *export_run(text_tower, path, platforms=["cpu"], quantize="int8")


def test_an_export_says_what_it_lost(export):
  path, config, found = export
  assert json.loads((path / "parity.json").read_text()) == found
  how = json.loads((path / "config.json").read_text())["quantization"]
  assert how == config["quantization"]
  assert (how["name"], how["library"]) == ("int8", "qwix")
  assert how["rules"]["Linear.kernel"] == "int8"
  assert how["rules"]["*"] == "float32"
  report = found["stablehlo"]["accuracy"]
  assert 0.99 < report["random"]["encode_text"]["worst"] < 1
  assert report["evaluations"] == report["not_evaluated"] == {}
  text = "\n".join(quantisation_lines(config, found))
  assert f"{how['arrays']} kernels in int8 by qwix" in text
  assert "| encode_text of noise | 0.99" in text
  assert "Nothing was evaluated" in text
  assert quantisation_lines(config | {"quantization": None}, found) == []


def test_a_kernel_takes_a_byte_a_number(export, text_tower):
  path, config, _ = export
  size = config["quantization"]["bytes"]
  weights = trajvit.load(path).weights
  assert size["after"] == sum(x.nbytes for x in weights.values())
  whole = jax.tree.leaves(text_tower.variables)
  assert size["before"] == sum(x.nbytes for x in whole)
  values = sum(x.size for x in weights.values() if x.dtype == np.int8)
  scales = sum(x.nbytes for k, x in weights.items() if k.endswith("/scale"))
  norms = sum(x.nbytes for k, x in weights.items() if "norm" in k) // 2
  assert size["before"] - size["after"] == 3 * values - (scales - norms)
  assert values > len(whole)


def test_programs_and_weights_alone_give_the_same(export, text_tower, tmp_path):
  path, _, _ = export
  ids, mask = words()
  found = trajvit.load(path).encode_text(ids, mask)
  live = encoder_of_run(quantized(text_tower, "int8"))
  np.testing.assert_allclose(live.encode_text(ids, mask), found, atol=1e-5)
  alone = shutil.copytree(path, tmp_path / "alone")
  for program in alone.glob("*.stablehlo"):
    program.unlink()
  again = trajvit.load(alone).encode_text(ids, mask)
  np.testing.assert_array_equal(again, live.encode_text(ids, mask))


@pytest.mark.slow
@pytest.mark.usefixtures("text_tower")
def test_onnx_has_the_same_kernels(tmp_path):
  onnx = pytest.importorskip("onnx")
  pytest.importorskip("jax2onnx")
  # Wide: what is small is computed when it is exported.
  text = dict(name="transformer", width=48, depth=1, num_heads=2)
  run, path = tiny_run(tokenizer=TUBELET, text=text), tmp_path / "out"
  _, found = export_run(run, path, targets=["onnx"], quantize="int8")
  assert found["onnx"]["accuracy"]["random"]["encode_text"]["worst"] > 0.99
  expected = encoder_of_run(quantized(run, "int8")).encode_text(*words())
  found = trajvit.load(path).encode_text(*words())
  np.testing.assert_allclose(found, expected, atol=1e-4)
  arrays = onnx.load(path / "encode_text.onnx").graph.initializer
  kernels = [x for x in arrays if x.data_type == onnx.TensorProto.INT8]
  assert sorted(list(x.dims) for x in kernels) == sorted(
    [[48, 48]] * 4 + [[48, 192], [192, 48]]
  )


def words():
  """Ids and mask of two captions."""
  length, count = CONTEXT["text_length"], CONTEXT["vocab_size"]
  ids = np.arange(2 * length, dtype=np.int32).reshape(2, length) % count
  return ids, np.ones((2, length), bool)


def test_bfloat16_stores_all_that_products_of_bfloat16_read(text_tower):
  run = quantized(text_tower, "bfloat16")
  how = run.meta["quantization"]
  assert how["library"] is how["version"] is None
  assert run.config.model["dtype"] == "bfloat16"
  kept = jax.tree.leaves(run.variables)
  assert sum(x.dtype == jnp.bfloat16 for x in kept) == how["arrays"]
  whole = dataclasses.replace(
    run,
    build=builder(run.config, CONTEXT),
    variables=text_tower.variables,
  )
  found, expected = (
    encoder_of_run(x).encode_text(*words()) for x in (run, whole)
  )
  np.testing.assert_array_equal(found, expected)
  other = encoder_of_run(text_tower).encode_text(*words())
  assert 0.99 < cosines(found, other).min() < 1


@pytest.mark.parametrize(
  ("limit", "add"),
  [pytest.param(1.1, 0, marks=pytest.mark.slow), (0.99, np.nan)],
)
def test_an_export_too_far_from_the_model_is_refused(
  export, text_tower, limit, add
):
  path, _, _ = export
  params = text_tower.variables["params"]
  kernel = params["project_text"]["kernel"] + np.float32(add)
  params = params | {"project_text": {"kernel": kernel}}
  run = dataclasses.replace(
    text_tower, variables=text_tower.variables | {"params": params}
  )
  with pytest.raises(ValueError, match="stablehlo, encode_text, cosine"):
    check_accuracy(path, run, ["stablehlo"], limit=limit, evaluate=False)


def test_cosines_of_tokens_are_of_the_real_ones(rng):
  features = rng.standard_normal((2, 3, 4), np.float32)
  mask = np.array([[True, True, False], [True, False, False]])
  before = {"features": features, "mask": mask}
  other = np.where(mask[..., None], features, np.nan)
  after = {"features": other, "mask": mask}
  np.testing.assert_allclose(cosines(before, after), 1)
  np.testing.assert_allclose(cosines(before, after | {"features": -other}), -1)
  none = before | {"mask": np.zeros_like(mask)}
  np.testing.assert_array_equal(cosines(none, none), 1)
  assert np.isnan(cosines(none, before)).all()


def test_what_is_not_evaluated_has_a_reason():
  clips = dict(name="moving_sprites", split="validation", count=8)
  lost = dict(manifest="nowhere.json")
  evals = dict(
    retrieval=dict(data=clips),
    probe=dict(name="attentive_probe", data=clips),
    cost=dict(data=clips),
    lost=dict(name="retrieval", data=lost),
  )
  built, reasons = evaluations_of(read_config(config() | dict(evals=evals)))
  assert [x.key for x in built] == ["retrieval"]
  assert reasons.keys() == evals.keys() - {"retrieval"}
  assert "needs tokens, tokens_mask" in reasons["probe"]
  assert "needs the model itself" in reasons["cost"]
  assert "nowhere.json" in reasons["lost"]


def test_unknown_forms_are_refused(parts, tmp_path, capsys):
  with pytest.raises(ValueError, match="to int8, bfloat16, got 'int4'"):
    export_run(parts, tmp_path / "out", quantize="int4")
  with pytest.raises(ValueError, match="onnx compute in float32"):
    export_run(parts, tmp_path / "out", targets=["onnx"], quantize="bfloat16")
  with pytest.raises(SystemExit, match="2"):
    cli.main(["export", "run", str(tmp_path / "out"), "--quantize", "int4"])
  assert "invalid choice: 'int4'" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named(parts, monkeypatch):
  monkeypatch.setitem(sys.modules, "qwix", None)
  with pytest.raises(ImportError, match=r"pip install 'trajvit\[quantize\]'"):
    quantized(parts, "int8")


def test_a_model_without_kernels_is_refused():
  with pytest.raises(ValueError, match="nothing to quantize, no kernel of"):
    quantized(run_of(lambda: LayerNorm(4)), "int8")
