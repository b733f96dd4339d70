"""Eight devices, however they are arranged, train as one does."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from devices import (
  on_eight_devices,
  run_on_eight_devices,
  starts_eight_devices,
)
from jax.experimental import topologies
from tiny import CLIP_SHAPE, TRACKS, WORDS, make_batch

from trajvit.bench.topology import ENVIRONMENT, libtpu_reason
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.checkpoint import abstract
from trajvit.training.config import MeshConfig, OptimizerConfig
from trajvit.training.functional import functional
from trajvit.training.optim import build_optimizer
from trajvit.training.sharding import (
  batch_sharding,
  build_mesh,
  default_rules,
  on_mesh,
  replicated,
  state_shardings,
  to_global,
)
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

BATCH, WIDTH, HIDDEN, STEPS = 16, 16, 64, 20
CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
TOWERS = dict(
  name="video_text",
  encoder=dict(
    name="vit", width=WIDTH, mlp_dim=HIDDEN, depth=2, num_heads=2, remat="dots"
  ),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)
CONTRASTIVE = dict(weight=1.0, chunk=3)
# The smallest there is, with 5 tokens, which two devices do not divide.
VIT = dict(name="vit", width=WIDTH, mlp_dim=HIDDEN, depth=1, num_heads=2)
# name: model, objectives
RUNS = {
  "vit3d": (
    TOWERS
    | dict(tokenizer=dict(name="tubelet", patch=(4, 16, 16)), encoder=VIT),
    dict(contrastive=CONTRASTIVE),
  ),
  "trajvit": (
    TOWERS | dict(tokenizer=dict(name="trajectory_light", stem_width=8)),
    dict(contrastive=CONTRASTIVE),
  ),
  "trajtok": (
    TOWERS
    | dict(
      tokenizer=dict(
        name="trajtok",
        stem=dict(name="conv", widths=(8,), depths=(1,)),
        segment_width=16,
        num_slots=4,
        num_heads=1,  # 3-D rotary needs wide heads
        depth=1,
        initial_scale=10.0,
        # A hard assignment turns the rounding of devices into other tokens.
        pool=dict(name="cells", assignment="soft"),
      )
    ),
    dict(
      contrastive=CONTRASTIVE | dict(method="ring"),
      grouping=dict(weight=1.0, dice=1.0, focal=0.5, soft_matching=True),
    ),
  ),
  "reconstruction": (
    dict(
      name="autoencoder",
      tokenizer=dict(
        name="registers", num_registers=5, patch=(2, 16, 16), depth=1
      ),
      width=WIDTH,
      num_heads=2,
      nested=dict(mode="uniform"),
      reconstruction=dict(
        dim=3,
        quantizer=dict(name="fsq", levels=(8, 5, 5)),
        decoder=dict(
          name="pixel",
          patch=(2, 16, 16),
          inner_width=16,
          depth=1,
          num_heads=2,
          remat="full",
        ),
      ),
    ),
    dict(reconstruction=dict(weight=1.0, l2=1.0)),
  ),
}
MESHES = {
  "data": MeshConfig(data=8),
  "fsdp": MeshConfig(data=1, fsdp=8),
  "fsdp x tensor": MeshConfig(data=1, fsdp=4, tensor=2),
  "fsdp x context": MeshConfig(data=1, fsdp=4, context=2),
  "all but data": MeshConfig(data=1, fsdp=2, tensor=2, context=2),
}


@starts_eight_devices
@pytest.mark.slow
@pytest.mark.parametrize("marks", ["not slow", "slow"])
def test_on_eight_devices(marks):
  run_on_eight_devices(__file__, marks)


def step_on(name, mesh):
  """The step of a run to be compiled, its arguments' types, and its start."""
  model, objectives = RUNS[name]
  init, apply = functional(lambda: build_model(model, seed=0, **CONTEXT))
  options = OptimizerConfig(learning_rate=1e-3, warmup_steps=5, ema_decay=0.9)
  tx, schedule = build_optimizer(options, STEPS)

  def start():
    return init_state(init(), tx, ema=True)

  shapes = jax.eval_shape(start)
  shardings = state_shardings(shapes, mesh, default_rules(mesh), tx)
  step = make_train_step(
    apply, build_objectives(objectives), tx, schedule, ema_decay=0.9
  )
  step = jax.jit(
    on_mesh(step, mesh),
    donate_argnums=0,
    out_shardings=(shardings, replicated(mesh)),
  )
  batch = make_batch(np.random.default_rng(0), BATCH)
  types = (
    abstract(shapes, shardings),
    jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=batch_sharding(mesh)
      ),
      batch,
    ),
    jax.eval_shape(lambda: jax.random.key(0)),
  )
  return step, types, jax.jit(start, out_shardings=shardings)


@functools.cache
def compiled_on(name, config, devices=8):
  """The program on so many devices, and its first state."""
  mesh = build_mesh(config, jax.devices()[:devices])
  step, types, start = step_on(name, mesh)
  return step.lower(*types).compile(), start, mesh


def losses(steps, compiled, start, mesh):
  state, found = start(), []
  for number in range(steps):
    batch = make_batch(np.random.default_rng(number), BATCH)
    batch = to_global(batch, batch_sharding(mesh))
    state, metrics = compiled(state, batch, jax.random.key(0))
    found.append(float(metrics["train/loss"]))
  return found


@on_eight_devices
@pytest.mark.slow
@pytest.mark.parametrize("arrangement", MESHES)
@pytest.mark.parametrize("name", ["trajvit", "trajtok", "reconstruction"])
def test_the_curve_is_that_of_one_device(name, arrangement):
  expected = losses(STEPS, *compiled_on(name, MeshConfig(), devices=1))
  assert expected[-1] < expected[0]
  found = losses(STEPS, *compiled_on(name, MESHES[arrangement]))
  np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@on_eight_devices
def test_a_curve_begins_as_that_of_one_device():
  expected = losses(4, *compiled_on("vit3d", MeshConfig(), devices=1))
  found = losses(4, *compiled_on("vit3d", MESHES["all but data"]))
  np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def products(compiled):
  """The shapes that products of matrices have on a device."""
  found = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", compiled.as_text())
  return {tuple(map(int, shape.split(","))) for shape in found}


@on_eight_devices
def test_clips_tokens_and_hidden_channels_are_cut():
  compiled, start, _ = compiled_on("vit3d", MESHES["all but data"])
  clips, tokens = BATCH // 2, 3  # of 5
  made = {x for x in products(compiled) if x[-1] in (HIDDEN, HIDDEN // 2)}
  assert (clips * tokens, HIDDEN // 2) in made
  assert not any(x[-1] == HIDDEN for x in made)
  state = start()
  moments = optax.tree_utils.tree_get(state.opt_state, "mu")
  for params in (state.params, moments, state.ema):
    layers = params["encoder"]["stages"][0]["layers"]
    kernel = layers["mlp"]["inner"]["kernel"]
    assert kernel.shape == (1, WIDTH, HIDDEN)
    shard = kernel.sharding.shard_shape(kernel.shape)
    assert shard == (1, WIDTH // 2, HIDDEN // 2)


@pytest.mark.slow
@pytest.mark.skipif(libtpu_reason() is not None, reason=str(libtpu_reason()))
def test_a_step_compiles_for_tpus_that_are_not_at_hand():
  tests = Path(__file__).parents[1]
  done = subprocess.run(
    ["nice", "-n", "19", sys.executable, __file__],
    env=os.environ
    | ENVIRONMENT
    | {"PYTHONPATH": f"{tests.parent}:{tests}", "XLA_FLAGS": ""},
    capture_output=True,
    text=True,
    timeout=1200,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["kernel"] == [2, WIDTH // 4, HIDDEN // 2]
  assert found["platform"] == "tpu" and found["peak"] > 0


def compile_for_tpu():
  """In another process: what the test above reads, as one line of JSON."""
  devices = topologies.get_topology_desc(
    platform="tpu", topology_name="v5e:2x4"
  ).devices
  mesh = build_mesh(MESHES["fsdp x tensor"], devices)
  step, types, _ = step_on("trajvit", mesh)
  lowered = step.trace(*types).lower(lowering_platforms=("tpu",))
  compiled = lowered.compile()
  kernel = types[0].params["encoder"]["stages"][0]["layers"]["mlp"]["inner"]
  kernel = kernel["kernel"]
  found = dict(
    platform=devices[0].platform,
    kernel=kernel.sharding.shard_shape(kernel.shape),
    peak=compiled.memory_analysis().peak_memory_in_bytes,
  )
  print(json.dumps(found))


if __name__ == "__main__":
  compile_for_tpu()
