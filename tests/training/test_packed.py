"""A packed run is read as the run that it was made of."""

import json

import jax
import numpy as np
import optax
import pytest
from tiny import CLIP_SHAPE

from trajvit.models import build_model
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig
from trajvit.training.feature_network import load_features
from trajvit.training.functional import functional
from trajvit.training.pack import pack_run
from trajvit.training.restore import restore_run
from trajvit.training.state import init_state

CONTEXT = dict(clip_shape=CLIP_SHAPE, max_tracks=2, vocab_size=0, text_length=1)
MODEL = dict(name="feature_net", num_classes=3, widths=(4, 6))
CONFIG = dict(
  seed=0,
  total_steps=4,
  log_every=1,
  data=dict(batch_size=2),
  model=MODEL,
  objectives={},
  optimizer=dict(learning_rate=1e-3, warmup_steps=1, ema_decay=0.5),
  checkpoint=dict(every=1, keep_last=2),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A run of two checkpoints with results of one of them, and it packed."""
  run = tmp_path_factory.mktemp("run")
  (run / "config.json").write_text(json.dumps(CONFIG))
  init, _ = functional(lambda: build_model(MODEL, seed=0, **CONTEXT))
  rng = np.random.default_rng(0)
  checkpoints = Checkpoints(
    run / "checkpoints", CheckpointConfig(every=1, keep_last=2)
  )
  for step in (2, 4):
    variables = jax.tree.map(
      lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype),
      jax.eval_shape(init),
    )
    state = init_state(variables, optax.sgd(1.0), ema=True)
    meta = dict(model_context=CONTEXT, commit=f"of step {step}")
    checkpoints.save(step, state, data={}, meta=meta)
  checkpoints.close()
  (run / "eval").mkdir()
  for name, step in (("early", 2), ("late", 4)):
    result = dict(metrics=dict(top1=10.0 * step), manifest=dict(step=step))
    (run / "eval" / f"{name}.json").write_text(json.dumps(result))
  packed = tmp_path_factory.mktemp("packed") / "net"
  pack_run(run, packed, command="python train.py", step=2)
  return run, packed


def copied(packed, path):
  for file in packed.iterdir():
    (path / file.name).write_bytes(file.read_bytes())
  return path


def test_it_is_the_run(runs):
  expected, got = restore_run(runs[0], step=2), restore_run(runs[1])
  assert (got.step, got.ema, got.meta) == (2, True, expected.meta)
  assert got.config == expected.config
  assert jax.tree.structure(got.variables) == jax.tree.structure(
    expected.variables
  )
  jax.tree.map(np.testing.assert_array_equal, got.variables, expected.variables)
  assert (
    load_features(runs[1]).weight_hash
    == load_features(runs[0], step=2).weight_hash
    != load_features(runs[0]).weight_hash
  )


def test_it_holds_what_tells_of_it_and_no_more(runs):
  assert sorted(x.name for x in runs[1].iterdir()) == [
    "config.json",
    "model.safetensors",
    "packed.json",
  ]
  record = json.loads((runs[1] / "packed.json").read_text())
  assert record["command"] == "python train.py"
  assert record["evals"].keys() == {"early"}  # the other is of another step
  assert record["evals"]["early"]["metrics"] == {"top1": 20.0}
  assert record["params_sha256"] == load_features(runs[1]).weight_hash


def test_it_has_one_step_and_one_kind_of_parameters(runs):
  assert restore_run(runs[1], step=2).step == 2
  with pytest.raises(FileNotFoundError, match="its step is 2, got 4"):
    restore_run(runs[1], step=4)
  with pytest.raises(ValueError, match="has ema=True packed, got ema=False"):
    restore_run(runs[1], ema=False)


def test_a_run_is_not_overwritten(runs):
  with pytest.raises(FileExistsError, match="holds a run"):
    pack_run(runs[0], runs[0], command="")


def test_other_values_are_refused(runs, tmp_path):
  path = copied(runs[1], tmp_path) / "model.safetensors"
  content = bytearray(path.read_bytes())
  content[-2] ^= 1  # of the last value
  path.write_bytes(content)
  with pytest.raises(ValueError, match="packed were those of"):
    restore_run(tmp_path)


def test_another_model_is_refused(runs, tmp_path):
  path = copied(runs[1], tmp_path) / "config.json"
  config = json.loads(path.read_text())
  config["model"]["num_classes"] = 5
  path.write_text(json.dumps(config))
  with pytest.raises(ValueError, match="2 arrays differ: params/classifier"):
    restore_run(tmp_path)


def test_an_unknown_name_is_told_the_known_ones():
  with pytest.raises(FileNotFoundError, match="library: moving_sprites"):
    load_features("moving_sprite")
