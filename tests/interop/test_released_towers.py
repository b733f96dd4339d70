"""Released towers, converted: the same numbers as the code they come from."""

import json

import jax
import numpy as np
import pytest
from transformers_oracles import ORACLES, make, read

from trajvit import cli
from trajvit.interop import (
  kind_of,
  load_torch,
  read_state_dict,
  to_torch,
  write_state_dict,
)
from trajvit.interop.load import model_of
from trajvit.training.functional import named_leaves
from trajvit.training.restore import restore_run
from trajvit.types import Text


def close(ours, theirs):
  """The largest difference is below 1e-4 of the largest number."""
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  assert ours.shape == theirs.shape
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def check(oracle):
  run, report = load_torch(oracle.kind, oracle.state, oracle.config)
  assert not report.extra and not report.missing
  model, found, inputs = model_of(run), {}, oracle.inputs
  if hasattr(model, "vision"):
    features, pooled = jax.jit(model.vision)(inputs.frames)
    found["features"] = features.reshape(oracle.outputs["features"].shape)
    found["pooled"] = pooled[:, 0]
  if hasattr(model, "text"):
    found["text"] = jax.jit(model.text)(Text(inputs.ids, inputs.mask))
  if hasattr(model, "log_temperature"):
    found["scale"] = np.exp(-model.log_temperature[...])
    found["bias"] = model.logit_bias[...]
  for name, theirs in oracle.outputs.items():
    close(found[name], theirs)
  back = to_torch(run.plan, run.variables, run.carried)
  assert back.keys() == oracle.state.keys()
  for name, x in oracle.state.items():
    assert back[name].dtype == x.dtype and back[name].shape == x.shape
    assert back[name].tobytes() == x.tobytes(), name


@pytest.mark.parametrize("name", ORACLES)
def test_features_are_as_they_were(name):
  check(read(name))


@pytest.mark.parametrize("name", ORACLES)
def test_features_are_those_of_transformers(name):
  pytest.importorskip("transformers")
  check(make(name, seed=1))


@pytest.mark.parametrize("name", ORACLES)
def test_the_kind_is_seen_from_the_names(name):
  oracle = read(name)
  assert kind_of(oracle.state) == oracle.kind


def test_a_converted_file_is_a_run_and_a_file_again(tmp_path, capsys):
  oracle = read("clip")
  source, out, back = (
    tmp_path / name for name in ("model.safetensors", "run", "back.pth")
  )
  write_state_dict(source, oracle.state)
  config = json.dumps(oracle.config)
  command = ["convert", str(source), str(out), "--config", config]
  assert cli.main(command) == 0
  assert "clip" in capsys.readouterr().out
  run, _ = load_torch("clip", oracle.state, oracle.config)
  found = named_leaves(restore_run(out).variables)
  for name, x in named_leaves(run.variables).items():
    np.testing.assert_array_equal(found[name], x)
  assert cli.main(["convert", str(out), str(back), "--to", "torch"]) == 0
  again = read_state_dict(back)
  assert again.keys() == oracle.state.keys()
  assert all(
    again[name].tobytes() == x.tobytes() for name, x in oracle.state.items()
  )


@pytest.mark.parametrize("tower", ["vision", "text"])
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_one_tower_is_enough(name, tower):
  oracle = read(name)
  starts = {
    "vision": ("vision_model.", "visual_projection."),
    "text": ("text_model.", "text_projection."),
  }
  alone = {
    key: x for key, x in oracle.state.items() if key.startswith(starts[tower])
  }
  run, report = load_torch(oracle.kind, alone, oracle.config)
  assert set(report.used) | set(report.unused) == alone.keys()
  model = model_of(run)
  assert hasattr(model, tower) and not hasattr(model, "log_temperature")


def test_a_pretrained_encoder_comes_without_its_decoder():
  oracle = read("videomae")
  state = {
    f"videomae.{name}": x
    for name, x in oracle.state.items()
    if not name.startswith("layernorm.")
  }
  more = dict.fromkeys(("mask_token", "decoder.head.bias"), np.zeros(2))
  run, report = load_torch("videomae", state | more, oracle.config)
  assert report.unused.keys() == more.keys()
  assert model_of(run).vision.norm is None
  back = to_torch(run.plan, run.variables, run.carried)
  assert back.keys() == (state | more).keys()


def test_old_names_of_norms_are_known():
  oracle = read("bert")
  old = {
    f"bert.{key}".replace("Norm.weight", "Norm.gamma").replace(
      "Norm.bias", "Norm.beta"
    ): x
    for key, x in oracle.state.items()
  }
  run, _ = load_torch("bert", old, oracle.config)
  new, _ = load_torch("bert", oracle.state, oracle.config)
  found = named_leaves(run.variables)
  for name, x in named_leaves(new.variables).items():
    np.testing.assert_array_equal(found[name], x)
  back = to_torch(run.plan, run.variables, run.carried)
  assert back.keys() == old.keys()


def test_only_the_first_blocks_may_be_run():
  oracle = read("bert")
  run, report = load_torch("bert", oracle.state, oracle.config | {"depth": 1})
  assert run.variables["params"]["text"]["blocks"]["layers"]["norm_mlp"][
    "scale"
  ].shape == (1, 12)
  assert "encoder.layer.1.output.dense.weight" in report.unused
  with pytest.raises(ValueError, match=r"in \[1, 2\], got 3"):
    load_torch("bert", oracle.state, oracle.config | {"depth": 3})


WRONG = [
  ("vit", {}, r"config.num_heads must divide the width 12; got None"),
  ("clip", {"num_heads": 2}, r"config.text_heads must divide the width 8"),
  ("vit", {"num_heads": 5}, "must divide the width 12; got 5"),
  ("vit", {"heads": 2}, "reads no 'heads'"),
]


@pytest.mark.parametrize(("name", "config", "message"), WRONG)
def test_what_a_config_gets_wrong_is_named(name, config, message):
  with pytest.raises(ValueError, match=message):
    load_torch(name, read(name).state, config)


def test_arrays_that_do_not_fit_are_named():
  oracle = read("vit")
  places = "embeddings.position_embeddings"
  for bad, message in (
    (oracle.state[places][:, :4], f"{places} must be of a square of cells"),
    (oracle.state[places][0], f"{places} must have 3 axes, got .5, 12."),
  ):
    with pytest.raises(ValueError, match=message):
      load_torch("vit", oracle.state | {places: bad}, oracle.config)
  without = dict(oracle.state)
  del without["encoder.layer.1.layernorm_after.bias"]
  with pytest.raises(ValueError, match="encoder.layer.1.layernorm_after.bias"):
    load_torch("vit", without, oracle.config)
  with pytest.raises(ValueError, match="extra    decoder.weight"):
    more = oracle.state | {"decoder.weight": np.zeros(2, np.float32)}
    load_torch("vit", more, oracle.config)
