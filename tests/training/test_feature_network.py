"""The network of features that a run has trained, as others call it."""

import json

import jax
import numpy as np
import optax
import pytest
from tiny import CLIP_SHAPE, make_batch

from trajvit.models import build_model
from trajvit.models.feature_net import weight_hash
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig
from trajvit.training.feature_network import load_features
from trajvit.training.functional import functional
from trajvit.training.state import init_state

CONTEXT = dict(clip_shape=CLIP_SHAPE, max_tracks=2, vocab_size=0, text_length=1)
MODEL = dict(
  name="feature_net", num_classes=3, widths=(4, 6), normalization="imagenet"
)


def write_config(path, model=MODEL):
  config = dict(
    seed=0,
    total_steps=1,
    log_every=1,
    data=dict(batch_size=2),
    model=model,
    objectives={},
    optimizer=dict(learning_rate=1e-3, warmup_steps=1),
    checkpoint=dict(every=1),
  )
  (path / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run directory, the model's pure function and its weights."""
  path = tmp_path_factory.mktemp("runs")
  write_config(path)
  init, apply = functional(lambda: build_model(MODEL, seed=0, **CONTEXT))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype), jax.eval_shape(init)
  )
  checkpoints = Checkpoints(path / "checkpoints", CheckpointConfig(every=1))
  state = init_state(variables, optax.sgd(1.0), ema=False)
  checkpoints.save(3, state, data={}, meta=dict(model_context=CONTEXT))
  checkpoints.close()
  return path, apply, variables


def test_it_computes_what_the_model_does(run):
  """Of pixels in [0, 1], which it normalises as it was trained to."""
  path, apply, variables = run
  network = load_features(path)
  assert network.weight_hash == weight_hash(variables["params"])
  batch = make_batch(np.random.default_rng(1))
  batch.clip.frame_mask[1, 2:] = False
  pixels = batch.clip.frames.astype(np.float32) / 255
  maps, pooled = jax.jit(network.apply)(
    network.variables, pixels, batch.clip.frame_mask
  )
  expected = jax.jit(apply)(variables, batch)["video_embedding"]
  np.testing.assert_allclose(pooled, expected, atol=1e-5)
  assert [m.shape[-1] for m in maps] == [4, 6] and np.std(pooled) > 0.1


def test_another_model_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="no config.json"):
    load_features(tmp_path)
  write_config(tmp_path, MODEL | dict(name="probe"))
  with pytest.raises(ValueError, match=r"'feature_net', .* trained 'probe'"):
    load_features(tmp_path)
