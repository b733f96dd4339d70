"""Adversarial training as a run does it: on, off, halfway, and resumed."""

import functools

import jax
import numpy as np
import pytest
from tiny import CLIP_SHAPE, TRACKS, make_batch

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import (
  CheckpointConfig,
  MeshConfig,
  OptimizerConfig,
)
from trajvit.training.functional import functional, path_name
from trajvit.training.optim import build_optimizer
from trajvit.training.sharding import (
  REPLICATE,
  build_mesh,
  state_shardings,
)
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=6
)
JUDGES = dict(
  adversarial=dict(widths=(4, 4)), perceptual=dict(widths=(4,), num_classes=3)
)
START = 2
WEIGHTS = dict(
  adversarial=dict(
    generator=0.5, start=START, ramp_steps=2, adaptive=dict(l2=1.0)
  ),
  perceptual=dict(weight=0.1),
)
STEPS = 6


def spec(decoder="pixel", **parts):
  return dict(
    name="autoencoder",
    tokenizer=dict(name="registers", num_registers=4, depth=1),
    width=16,
    num_heads=2,
    reconstruction=dict(
      dim=4,
      quantizer=dict(name="fsq", levels=(4, 4, 4, 4)),
      decoder=dict(name=decoder, patch=(2, 16, 16), inner_width=16, depth=1),
      **parts,
    ),
    nested=dict(mode="uniform"),
  )


@functools.cache
def training(*judges):
  """The first state, where its arrays lie, and the compiled step."""
  parts = {name: JUDGES[name] for name in judges}
  names = dict(reconstruction=dict(l2=1.0))
  names |= {name: WEIGHTS[name] for name in judges}
  config = OptimizerConfig(
    learning_rate=3e-3,
    warmup_steps=0,
    weight_decay=0.0,
    clip_norm=0.1,
    rates={"/adversary/": 0.5} if "adversarial" in judges else {},
    frozen=("/perceptual/",) if "perceptual" in judges else (),
  )
  init, apply = functional(
    lambda: build_model(spec(**parts), seed=0, **CONTEXT)
  )
  tx, schedule = build_optimizer(config, STEPS)
  state = init_state(init(), tx, ema=False)
  mesh = build_mesh(MeshConfig())
  shardings = state_shardings(state, mesh, REPLICATE, tx)
  step = make_train_step(
    apply, build_objectives(names), tx, schedule, frozen=config.frozen
  )
  step = jax.jit(step, out_shardings=(shardings, None))
  return jax.device_put(state, shardings), shardings, step


def batch(i):
  return make_batch(np.random.default_rng(i), batch=2)


def steps(state, first, last, *judges):
  """All states from one on, on the host, and the metrics of each step."""
  step = training(*judges)[-1]
  found, metrics = [jax.device_get(state)], []
  for i in range(first, last):
    state, measured = step(state, batch(i), jax.random.key(0))
    found.append(jax.device_get(state))
    metrics.append(jax.device_get(measured))
  return found, metrics


@functools.cache
def unbroken():
  """An unbroken run."""
  return steps(training("adversarial")[0], 0, STEPS, "adversarial")


def by_path(state):
  leaves = jax.tree_util.tree_leaves_with_path(state.params)
  return {path_name(path): x for path, x in leaves}


def changed(before, after):
  """The paths of the parameters that differ."""
  before, after = by_path(before), by_path(after)
  return {name for name, x in before.items() if (x != after[name]).any()}


def judge(names):
  return {name for name in names if "/adversary/" in name}


@pytest.mark.slow
def test_it_is_off_before_its_start_and_on_from_then():
  found, metrics = unbroken()
  assert not judge(changed(found[0], found[START]))
  everything = judge(by_path(found[0]))
  assert judge(changed(found[START], found[START + 1])) == everything
  weights = [m["train/adversarial/weight"] for m in metrics]
  # At its first step the discriminator alone learns.
  assert weights[: START + 1] == [0] * (START + 1)
  assert min(weights[START + 1 :]) > 0
  for name in ("discriminator", "generator", "lecam", "real", "fake"):
    values = [m[f"train/adversarial/{name}"] for m in metrics]
    assert np.isfinite(values).all() and np.ptp(values) > 0, name


@pytest.mark.slow
def test_its_anchors_are_statistics_of_the_state():
  found, metrics = unbroken()
  for name in ("real", "fake"):
    slow = 0.0
    for state, measured in zip(found[1:], metrics, strict=True):
      slow = 0.999 * slow + 0.001 * measured[f"train/adversarial/{name}"]
      anchors = state.batch_stats["reconstruction"]["adversary"]["anchors"]
      np.testing.assert_allclose(anchors[name], slow, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
  """Through a checkpoint in the middle of the ramp."""
  state, shardings, _ = training("adversarial")
  found, metrics = unbroken()
  half = START + 2
  checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1))
  saved = jax.device_put(found[half], shardings)
  checkpoints.save(half, saved, data={}, meta={})
  restored, _, _ = checkpoints.restore(abstract(state, shardings))
  checkpoints.close()
  again, measured = steps(restored, half, STEPS, "adversarial")
  for pair in ((again, found[half:]), (measured, metrics[half:])):
    assert jax.tree.structure(pair[0]) == jax.tree.structure(pair[1])
    jax.tree.map(np.testing.assert_array_equal, *pair)


@pytest.mark.slow
def test_before_its_start_a_run_is_one_without_it():
  """Neither initial values, nor what is drawn, nor clipping know of it."""
  found, _ = steps(training()[0], 0, START)
  for state, judged in zip(found, unbroken()[0][: START + 1], strict=True):
    judged = by_path(judged)
    for name, x in by_path(state).items():
      np.testing.assert_array_equal(x, judged[name], err_msg=name)
  assert changed(*found[::START])


@pytest.mark.slow
def test_a_network_of_features_is_heard_and_stays_as_it_is():
  both = "adversarial", "perceptual"
  found, metrics = steps(training(*both)[0], 0, STEPS, *both)
  moved = changed(found[0], found[-1])
  assert moved and not [name for name in moved if "/perceptual/" in name]
  assert all(m["train/perceptual/loss"] > 0 for m in metrics)
  alone, _ = unbroken()
  # It draws from a stream of its own, so that all else began alike.
  for name, x in by_path(alone[0]).items():
    np.testing.assert_array_equal(x, by_path(found[0])[name], err_msg=name)
  after = by_path(found[1])["reconstruction/down/kernel"]
  assert (after != by_path(alone[1])["reconstruction/down/kernel"]).any()


def test_they_need_a_decoder_of_whole_frames():
  parts = spec("coordinate", **JUDGES)
  init, apply = functional(lambda: build_model(parts, seed=0, **CONTEXT))
  variables = jax.eval_shape(init)
  wrong = "adversarial and perceptual need .* got CoordinateDecoder"
  with pytest.raises(ValueError, match=wrong):
    jax.eval_shape(apply, variables, batch(0), jax.random.key(0))
  jax.eval_shape(apply, variables, batch(0))  # nobody judges an evaluation
  with pytest.raises(ValueError, match="adversarial reads no 'depth'"):
    build_model(spec(adversarial=dict(depth=3)), seed=0, **CONTEXT)
