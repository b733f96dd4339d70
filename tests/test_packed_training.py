"""Packed models from frames to loss: equal to padded ones, without leaks."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from tiny import CLIP_SHAPE, FRAMES, TRACKS, WORDS, make_batch

from trajvit.data.packing import Packing
from trajvit.encoders import masking
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.config import MeshConfig
from trajvit.training.functional import functional
from trajvit.training.sharding import batch_sharding, build_mesh, to_global
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

BATCH = 4
# name: tokenizer, how the loader counts its tokens, slots of a clip.
MODELS = {
  "trajvit": (
    dict(name="trajectory_light", stem_width=8),
    "tracks",
    TRACKS + 1,
  ),
  "vit3d": (dict(name="tubelet", patch=(2, 16, 16)), 8, 9),
}
# Who plans; "sparse" is the device, for rows as long as to list their tiles.
CASES = [
  ("trajvit", "loader"),
  pytest.param("trajvit", "sparse", marks=pytest.mark.slow),
  pytest.param("vit3d", "device", marks=pytest.mark.slow),
  pytest.param("vit3d", "sparse", marks=pytest.mark.slow),
]


def model(name, packing=None):
  tokenizer, *_ = MODELS[name]
  spec = dict(
    name="video_text",
    tokenizer=tokenizer,
    encoder=dict(
      name="vit",
      width=16,
      depth=2,
      num_heads=2,
      packing=packing,
      remat=True,  # a loop, which compiles sooner than two blocks do
    ),
    text=dict(name="transformer", width=8, depth=1, num_heads=2),
    embed_dim=8,
  )
  context = dict(clip_shape=CLIP_SHAPE, max_tracks=TRACKS)
  context |= dict(vocab_size=20, text_length=WORDS)
  return functional(lambda: build_model(spec, seed=0, **context))


def group(name, clips=2):
  return dict(clips=clips, rows=1, length=clips * MODELS[name][2])


def uneven_batch(rng, batch=BATCH):
  """Clips of different numbers of tracks; the last has masked frames."""
  made = make_batch(rng, batch)
  tracks = made.clip.tracks.copy()
  for i in range(batch):
    tracks[i][tracks[i] >= 1 + i % (TRACKS - 1)] = -1
  mask = made.clip.frame_mask.copy()
  mask[-1, FRAMES // 2 :] = False
  clip = dataclasses.replace(made.clip, tracks=tracks, frame_mask=mask)
  return dataclasses.replace(made, clip=clip)


def with_layout(name, batch, clips=2):
  tokens = MODELS[name][1]
  layout = Packing(tokens=tokens, **group(name, clips)).layout(
    batch.clip, TRACKS
  )
  return dataclasses.replace(batch, layout=layout)


def contrastive(apply, batch):
  """The loss and gradients of a training step, and the model's metrics."""
  objective = build_objectives(dict(contrastive=dict(weight=1.0)))

  def loss(params, stats):
    variables = {"params": params, "batch_stats": stats}
    outputs = apply(variables, batch, jax.random.key(1))
    return objective(outputs, batch)[0], outputs["metrics"]

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def assert_close(found, expected, tolerance):
  leaves = jax.tree.leaves(expected)
  largest = max(float(np.abs(x).max()) for x in leaves)
  for x, y in zip(jax.tree.leaves(found), leaves, strict=True):
    # A key bias has no gradient but rounding: it is held to the largest one.
    scale = max(float(np.abs(y).max()), 0.1 * largest)
    np.testing.assert_allclose(x, y, atol=tolerance * scale, rtol=0)


@functools.cache
def padded_training(name):
  """A batch, the variables of a model, its loss and gradients, padded."""
  batch = uneven_batch(np.random.default_rng(0))
  init, apply = model(name)
  variables = init()
  arrays = variables["params"], variables["batch_stats"]
  (loss, metrics), grads = contrastive(apply, batch)(*arrays)
  assert not metrics
  return batch, arrays, loss, grads


@pytest.mark.parametrize(("name", "planner"), CASES)
def test_packed_training_is_padded_training(monkeypatch, name, planner):
  batch, arrays, loss, grads = padded_training(name)
  if planner == "sparse":
    monkeypatch.setattr(masking, "SPARSE_FROM", 1)
  if planner == "loader":
    _, apply = model(name)
    batch = with_layout(name, batch)
  else:
    _, apply = model(name, group(name))
  (found, metrics), found_grads = contrastive(apply, batch)(*arrays)
  assert metrics["packing/overflow_tokens"] == 0
  assert 0 < metrics["packing/fill_%"] < 100
  np.testing.assert_allclose(found, loss, rtol=1e-5)
  assert_close(found_grads, grads, 1e-5)


def perturb(rng, batch, clip, *, count=None):
  """Another clip, with the same number of tracks or with `count`."""
  frames, tracks = batch.clip.frames.copy(), batch.clip.tracks.copy()
  frames[clip] = rng.integers(0, 256, frames.shape[1:])
  if count is None:
    labels = np.unique(tracks[clip])
    tracks[clip] = rng.permutation(tracks[clip].ravel()).reshape(
      tracks[clip].shape
    )
    assert np.array_equal(np.unique(tracks[clip]), labels)
  else:
    tracks[clip] = rng.integers(0, count, tracks.shape[1:])
  changed = dataclasses.replace(batch.clip, frames=frames, tracks=tracks)
  return dataclasses.replace(batch, clip=changed)


def own_loss(apply, variables, others, rng):
  """From a batch to the embeddings of `others` and the gradients of a loss on
  them alone: of the parameters and of all frames."""
  weights = rng.normal(size=(len(others), 8)).astype(np.float32)

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def run(params, frames, batch):
    clip = dataclasses.replace(batch.clip, frames=frames)
    batch = dataclasses.replace(batch, clip=clip, text=None)
    outputs = apply(variables | {"params": params}, batch, jax.random.key(1))
    embedding = outputs["video_embedding"][others]
    return (embedding * weights).sum(), embedding

  def values(batch):
    frames = batch.clip.frames.astype(np.float32)
    (_, embedding), grads = run(variables["params"], frames, batch)
    return embedding, grads

  return values


@pytest.mark.parametrize(("name", "planner"), CASES)
def test_a_clip_leaks_into_no_other(rng, monkeypatch, name, planner):
  if planner == "sparse":
    monkeypatch.setattr(masking, "SPARSE_FROM", 1)
  batch = uneven_batch(rng)
  init, apply = model(name, None if planner == "loader" else group(name, BATCH))
  one, others = 1, np.array([0, 2, 3])
  values = own_loss(apply, init(), others, rng)

  def run(batch):
    if planner == "loader":
      batch = with_layout(name, batch, BATCH)
    return values(batch)

  expected, (param_grads, frame_grads) = run(batch)
  assert not frame_grads[one].any() and frame_grads[others].any()
  changed = perturb(rng, batch, one)
  found, (found_params, found_frames) = run(changed)
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(found_frames, frame_grads)
  jax.tree.map(np.testing.assert_array_equal, found_params, param_grads)


def test_a_clip_that_grows_moves_others_and_changes_none(rng):
  batch = uneven_batch(rng)
  init, apply = model("trajvit", group("trajvit", BATCH))
  others = np.array([0, 2, 3])
  values = own_loss(apply, init(), others, rng)
  expected = values(batch)
  found = values(perturb(rng, batch, 1, count=TRACKS))
  # Sums run over other slots: equal up to rounding.
  assert_close(found, expected, 1e-5)


def training(name, packing, accumulate_steps=1):
  init, apply = model(name, packing)
  tx = optax.adamw(1e-3)
  state = jax.jit(lambda: init_state(init(), tx, ema=False))()
  step = make_train_step(
    apply,
    build_objectives(dict(contrastive=dict(weight=1.0))),
    tx,
    lambda step: 1e-3,
    accumulate_steps=accumulate_steps,
  )
  return state, jax.jit(step)


@pytest.mark.slow
def test_the_step_logs_how_it_was_packed(rng):
  batch = uneven_batch(rng)
  small = dict(clips=BATCH, rows=1, length=8)
  state, step = training("trajvit", small)
  _, metrics = step(state, batch, jax.random.key(0))
  real = round(float(metrics["train/tokens_per_clip"]) * BATCH) + BATCH
  assert metrics["packing/fill_%"] == 100
  assert metrics["packing/overflow_tokens"] == real - 8 > 0


@pytest.mark.slow
def test_micro_batches_are_packed_by_the_device_alone(rng):
  batch = uneven_batch(rng)
  state, step = training("trajvit", group("trajvit"), accumulate_steps=2)
  _, metrics = step(state, batch, jax.random.key(0))
  assert np.isfinite(metrics["train/loss"])
  with pytest.raises(ValueError, match="cannot be cut into micro-batches"):
    step(state, with_layout("trajvit", batch), jax.random.key(0))


@pytest.mark.slow
def test_a_packed_model_evaluates_batches_of_any_size(rng):
  batch = uneven_batch(rng, 3)
  init, padded = model("trajvit")
  _, packed = model("trajvit", group("trajvit"))
  variables = init()
  expected = jax.jit(padded)(variables, batch)["video_embedding"]
  found = jax.jit(packed)(variables, batch)["video_embedding"]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def sharded_run():
  """Prints the loss and gradient norm of one and of eight devices."""
  batch = uneven_batch(np.random.default_rng(0), 16)
  init, apply = model("trajvit", group("trajvit"))
  variables = init()
  arrays = variables["params"], variables["batch_stats"]
  mesh = build_mesh(MeshConfig())
  sharded = to_global(batch, batch_sharding(mesh))
  found = []
  for given in (batch, sharded):
    (loss, _), grads = contrastive(apply, given)(*arrays)
    found.append([float(loss), float(optax.global_norm(grads))])

  def tokens(batch):
    return apply(variables, batch)["video_embedding"]

  text = jax.jit(tokens).lower(sharded).compile().as_text()
  moves = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
  print(json.dumps(dict(found=found, moves=[m for m in moves if m in text])))


@pytest.mark.slow
def test_groups_stay_on_their_device():
  environment = os.environ | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2])),
  }
  done = subprocess.run(
    [sys.executable, __file__],
    env=environment,
    capture_output=True,
    text=True,
    timeout=240,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  result = json.loads(done.stdout.splitlines()[-1])
  one, eight = result["found"]
  np.testing.assert_allclose(eight, one, rtol=1e-5)
  assert not result["moves"]


if __name__ == "__main__":
  sharded_run()
