"""The networks that come with the library are there, and know something."""

import configparser
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import trajvit
from trajvit.data.example import ClipSpec
from trajvit.data.synthetic.sprites import MovingSprites
from trajvit.models.feature_net import weight_hash
from trajvit.training.feature_network import load_features
from trajvit.training.packed import is_packed
from trajvit.training.restore import restore_run
from trajvit.training.workdir import SHIPPED, WEIGHTS, find_run
from trajvit.types import Batch, Clip

ROOT = Path(__file__).parents[2]


def test_the_names_are_the_folders():
  assert sorted(SHIPPED) == sorted(x.name for x in WEIGHTS.iterdir())
  assert all(is_packed(find_run(name)) for name in SHIPPED)


def test_an_installed_package_has_them():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  patterns = setup["options.package_data"]["trajvit"].split()
  package = Path(trajvit.__file__).parent
  declared = {x for pattern in patterns for x in package.glob(pattern)}
  files = {x for x in WEIGHTS.rglob("*") if x.is_file()}
  assert files and files <= declared


@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_are_the_recorded_ones(name):
  run = restore_run(name)
  record = json.loads((find_run(name) / "packed.json").read_text())
  assert weight_hash(run.variables["params"]) == record["params_sha256"]
  assert record["meta"]["commit"] and record["command"]
  assert sum(x.stat().st_size for x in find_run(name).iterdir()) < 300_000


@functools.cache
def clips():
  """Clips that no training has seen, [64, 16, 64, 64, 3] uint8, and classes."""
  setting = restore_run("moving_sprites").config.data
  source = MovingSprites(
    clip=ClipSpec(**setting["clip"]),
    split="validation",
    count=64,
    tracks="none",
    label=setting["train"]["label"],
    seed=setting["train"].get("seed", 0) + 1,
  )
  examples = [source.example(i, None) for i in range(len(source))]
  labels = np.array([x.label for x in examples])
  return np.stack([x.frames for x in examples]), labels


def test_it_tells_what_the_camera_of_new_clips_does():
  """Beyond what the commonest class, a camera that is still, would reach."""
  run = restore_run("moving_sprites")
  frames, labels = clips()
  logits = jax.jit(run.apply)(run.variables, Batch(clip=Clip(frames)))["logits"]
  right = np.argmax(logits, axis=1) == labels
  assert right.mean() > 0.9 and right[labels > 0].mean() > 0.85


def test_its_features_tell_clips_apart():
  network = load_features("moving_sprites")
  frames, _ = clips()
  _, pooled = jax.jit(network.apply)(
    network.variables, frames[:8].astype(np.float32) / 255, None
  )
  pooled = np.asarray(pooled)
  assert np.isfinite(pooled).all()
  apart = np.linalg.norm(pooled[:, None] - pooled, axis=-1)
  assert apart[~np.eye(8, dtype=bool)].min() > 0.1
