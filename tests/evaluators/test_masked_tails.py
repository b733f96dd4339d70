"""One, two and eight devices, and tails that are masked: equal metrics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices import (
  on_eight_devices,
  run_on_eight_devices,
  starts_eight_devices,
)
from fake_loader import FakeLoader

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import _outputs
from trajvit.training.config import MeshConfig
from trajvit.training.sharding import build_mesh, make_predict

CLIPS, WIDTH, WORDS, CLASSES = 21, 6, 50, 3
MISSING = (2, 9, 20)
SPECS = (
  dict(name="retrieval", dual_softmax=0.1, bootstrap=20),
  dict(name="classification", top=(1, 2)),
  dict(name="knn", k=(1, 3)),
  dict(name="linear_probe"),
)


class Loader(FakeLoader):
  """Clips with several captions and a class."""

  def batch(self, rows):
    batch, info = super().batch(rows)
    label = np.where(batch.valid, [i % CLASSES for i in rows], 99)
    return dataclasses.replace(batch, label=label.astype(np.int32)), info


def loader(batch_size):
  rng = np.random.default_rng(0)
  words = iter(range(1, WORDS))
  captions = [[next(words) for _ in range(i % 3)] for i in range(CLIPS)]
  clips = [
    None
    if i in MISSING
    else rng.integers(0, 256, (1, 2, 2, 3)).astype(np.uint8)
    for i in range(CLIPS)
  ]
  return Loader(clips, captions, np.arange(CLIPS) % 19, batch_size=batch_size)


def variables():
  rng = np.random.default_rng(1)
  shapes = dict(video=(12, WIDTH), text=(WORDS, WIDTH), head=(WIDTH, CLASSES))
  return {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


def apply(variables, batch):
  """Towers of one layer; rows that are no clip come out as NaN."""

  def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

  pixels = batch.clip.frames.reshape(len(batch.clip.frames), -1) / 255 - 0.5
  video = unit(pixels @ variables["video"])
  video = jnp.where(batch.valid[:, None], video, jnp.nan)
  outputs = {"video_embedding": video, "logits": video @ variables["head"]}
  if batch.text is not None:
    text = unit(variables["text"][batch.text.ids[..., 0]])
    outputs["text_embedding"] = jnp.where(
      batch.valid[:, None, None], text, jnp.nan
    )
  return outputs


def metrics(batch_size, devices):
  """All metrics of all evaluators over so many devices."""
  mesh = build_mesh(MeshConfig(data=devices), jax.devices()[:devices])
  predict = make_predict(apply, mesh)
  found = {}
  for spec in SPECS:
    evaluator = EVALUATORS.build(spec, loader=loader(batch_size))
    got = evaluator.run(predict, variables())
    found |= {f"{spec['name']}/{name}": value for name, value in got.items()}
  assert found["retrieval/n_missing"] == len(MISSING)
  assert found["classification/n_evaluated"] == CLIPS - len(MISSING)
  return found


@pytest.fixture(name="expected", scope="module")
def _expected():
  """All clips in one batch, which nothing fills up."""
  return metrics(CLIPS, 1)


@starts_eight_devices
@pytest.mark.parametrize("batch_size", [8, 5])
def test_a_tail_changes_nothing(expected, batch_size):
  assert metrics(batch_size, 1) == pytest.approx(expected, abs=1e-6)


@starts_eight_devices
def test_devices_change_nothing():
  run_on_eight_devices(__file__)


@on_eight_devices
@pytest.mark.parametrize(
  "devices, batch_size", [(2, 8), (8, 8), (8, 5)]
)  # the last tail: 5 of 8 rows; and 8 devices do not divide 5
def test_each_metric_equals_that_of_one_device(expected, devices, batch_size):
  assert metrics(batch_size, devices) == pytest.approx(expected, abs=1e-6)


@on_eight_devices
def test_a_pass_is_shared_out():
  """Each device computes its own clips, where the devices divide them."""
  mesh = build_mesh(MeshConfig(data=8))
  predict = make_predict(apply, mesh)
  batch, _ = loader(8).batch(range(8))
  batch = dataclasses.replace(batch, text=None)
  lowered = _outputs.lower(predict, ("video",), variables(), batch)
  text = lowered.compile().as_text()
  assert f"f32[1,{WIDTH}]" in text and "all-gather" in text
