"""Layouts: rules on paths, and eight devices that equal one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import CheckpointConfig, MeshConfig
from trajvit.training.sharding import (
  FSDP,
  batch_sharding,
  build_mesh,
  default_rules,
  make_predict,
  on_mesh,
  param_shardings,
  replicated,
  state_shardings,
  to_global,
)

STEPS = 5
CASES = {  # name: mesh, micro-batches, whether the model attends
  "data": (MeshConfig(data=-1), 1, False),
  "fsdp": (MeshConfig(data=1, fsdp=-1), 1, True),
  "both": (MeshConfig(data=-1, fsdp=2), 2, False),
}


def test_first_matching_rule_decides():
  params = {"up": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}
  rules = (("kernel$", P(None, "data")), (".*", P()))
  found = param_shardings(params, build_mesh(MeshConfig()), rules)
  specs = jax.tree.map(lambda s: s.spec, found)
  assert specs == {"up": {"kernel": P(None, "data"), "bias": P()}}


def test_a_rule_that_matches_nothing_is_refused():
  params = {"up": {"kernel": jnp.ones((4, 2))}}
  mesh = build_mesh(MeshConfig())
  with pytest.raises(ValueError, match="match no parameter.*kernel/value"):
    param_shardings(params, mesh, (("kernel/value", P()), (".*", P())))
  with pytest.raises(ValueError, match="no sharding rule matches.*up/kernel"):
    param_shardings(params, mesh, (("nothing", P()),))


def abstract_mesh(**sizes):
  sizes = dict(data=1, fsdp=1, tensor=1, context=1) | sizes
  return jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes))


def specs(params, mesh):
  shapes = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
    params,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  found = param_shardings(shapes, mesh, default_rules(mesh))
  return jax.tree.map(lambda sharding: sharding.spec, found)


BLOCK = {  # of a stack of 3
  "attention": {
    "query": {"kernel": (3, 8, 8), "bias": (3, 8)},
    "out": {"kernel": (3, 8, 8), "bias": (3, 8)},
  },
  "mlp": {
    "inner": {"kernel": (3, 8, 32), "bias": (3, 32)},
    "outer": {"kernel": (3, 32, 8), "bias": (3, 8)},
  },
}


def test_heads_and_hidden_channels_are_cut_along_tensor_the_rest_along_fsdp():
  rows, columns = P(None, "tensor", "fsdp"), P(None, "fsdp", "tensor")
  assert specs(BLOCK, abstract_mesh(fsdp=4, tensor=2)) == {
    "attention": {
      "query": {"kernel": columns, "bias": P(None, "tensor")},
      "out": {"kernel": rows, "bias": P(None, "fsdp")},
    },
    "mlp": {
      "inner": {"kernel": columns, "bias": P(None, "tensor")},
      "outer": {"kernel": rows, "bias": P(None, "fsdp")},
    },
  }
  found = specs(BLOCK, abstract_mesh(data=4, tensor=2))
  assert found["mlp"]["outer"] == {"kernel": P(None, "tensor"), "bias": P()}
  whole = jax.tree.leaves(specs(BLOCK, abstract_mesh(data=2, context=4)))
  assert set(whole) == {P()}


def test_what_tensor_does_not_divide_is_refused():
  with pytest.raises(ValueError, match="3 devices.*'tensor'.*attention/out"):
    specs(BLOCK, abstract_mesh(tensor=3))
  with pytest.raises(ValueError, match="match no parameter.*query"):
    specs({"conv": {"kernel": (3, 3, 8, 8)}}, abstract_mesh(tensor=2))


@pytest.mark.parametrize("sizes", [(3, 1), (-1, -1), (0, 1), (-1, 3)])
def test_a_mesh_that_is_not_the_devices_is_refused(sizes):
  with pytest.raises(ValueError, match="must multiply to 1 devices"):
    build_mesh(MeshConfig(*sizes))
  with pytest.raises(ValueError, match="to 3 devices.*tensor=2, context=1"):
    build_mesh(MeshConfig(tensor=2), devices=jax.devices() * 3)


def test_the_mesh_is_in_the_context_of_what_is_traced():
  mesh = build_mesh(MeshConfig())
  found = on_mesh(jax.sharding.get_abstract_mesh, mesh)
  sizes = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1}
  assert dict(found().shape) == sizes
  assert jax.sharding.get_abstract_mesh().empty


def test_eight_devices_equal_one(tiny, tmp_path):
  make_training, make_batch, _ = tiny
  flags = "--xla_force_host_platform_device_count=8"
  root = Path(__file__).parents[2]
  environment = os.environ | {
    "XLA_FLAGS": flags,
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(root),
  }
  done = subprocess.run(
    [sys.executable, __file__, str(tmp_path)],
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads(done.stdout.splitlines()[-1])

  for name, (_, accumulate, attends) in CASES.items():
    state, step, _, apply = make_training(
      ema_decay=0.9, accumulate_steps=accumulate, attends=attends
    )
    step, losses = jax.jit(step), []
    for i in range(STEPS):
      state, metrics = step(state, make_batch(i, 16), jax.random.key(0))
      losses.append(float(metrics["train/loss"]))
    outputs = jax.jit(apply)(state.variables, make_batch(9, 16))
    np.testing.assert_allclose(found[name]["losses"], losses, rtol=1e-5)
    for part in ("embedding", "embedding_of_another_mesh"):
      np.testing.assert_allclose(
        found[name][part], outputs["video_embedding"], atol=1e-5
      )
    # Kernels of attention see the part of a device, not the whole batch.
    assert found[name]["by_hand"] == attends
  assert found["fsdp"]["kernel"] == str(P("fsdp"))
  assert found["data"]["kernel"] == str(P())
  assert found["fsdp"]["moment"] == str(P("fsdp"))


def run_on_all_devices(folder):
  """In another process: what the test above compares, as one line of JSON."""
  from conftest import make_batch, make_training  # noqa: PLC0415

  found = {}
  for name, (config, accumulate, attends) in CASES.items():
    mesh = build_mesh(config)
    state, step, tx, apply = make_training(
      ema_decay=0.9, accumulate_steps=accumulate, attends=attends
    )
    shardings = state_shardings(state, mesh, default_rules(mesh), tx)
    state = jax.device_put(state, shardings)
    step = jax.jit(
      on_mesh(step, mesh),
      donate_argnums=0,
      out_shardings=(shardings, replicated(mesh)),
    )
    program = step.trace(state, make_batch(0, 16), jax.random.key(0))
    losses = []
    for i in range(STEPS):
      batch = to_global(make_batch(i, 16), batch_sharding(mesh))
      state, metrics = step(state, batch, jax.random.key(0))
      losses.append(float(metrics["train/loss"]))
    outputs = make_predict(apply, mesh)(state.variables, make_batch(9, 16))

    # The same state on another mesh, by way of a checkpoint.
    other = build_mesh(MeshConfig(data=-1, fsdp=4))
    checkpoints = Checkpoints(f"{folder}/{name}", CheckpointConfig(every=1))
    checkpoints.save(STEPS, state, data={}, meta={})
    like = abstract(state, state_shardings(state, other, FSDP, tx))
    moved, _, _ = checkpoints.restore(like)
    checkpoints.close()
    predict = make_predict(apply, other)
    again = predict(moved.variables, make_batch(9, 16))
    odd = predict(moved.variables, make_batch(9, 3))  # 8 devices, 3 clips
    assert odd["video_embedding"].shape == (3, 8)

    kernel = state.params["layers"][0]["kernel"]
    moment = optax.tree_utils.tree_get(state.opt_state, "mu")
    found[name] = {
      "losses": losses,
      "by_hand": "shard_map" in str(program.jaxpr),
      "embedding": np.array(outputs["video_embedding"]).tolist(),
      "embedding_of_another_mesh": np.array(again["video_embedding"]).tolist(),
      "kernel": str(kernel.sharding.spec),
      "moment": str(moment["layers"][0]["kernel"].sharding.spec),
    }
  print(json.dumps(found))


if __name__ == "__main__":
  run_on_all_devices(sys.argv[1])
