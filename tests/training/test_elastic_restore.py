"""A state comes back on another mesh, in another dtype, to the last bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from devices import (
  on_eight_devices,
  run_on_eight_devices,
  starts_eight_devices,
)

from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import CheckpointConfig, MeshConfig
from trajvit.training.functional import named_leaves
from trajvit.training.sharding import (
  build_mesh,
  default_rules,
  state_shardings,
)
from trajvit.training.state import init_state

SAVED = MeshConfig(data=2, fsdp=4)
OTHERS = {
  "data": MeshConfig(data=8),
  "fsdp": MeshConfig(data=1, fsdp=8),
  "tensor": MeshConfig(data=2, fsdp=2, tensor=2),
  "context": MeshConfig(data=1, fsdp=4, context=2),
  "one device": MeshConfig(data=1),
}
# Leaf by leaf what the table of tensor parallelism has a rule for.
SHAPES = {
  "encoder": {
    "mlp": {
      "up": {"kernel": (16, 32), "bias": (32,)},
      "down": {"kernel": (32, 16), "bias": (16,)},
    },
    "attention": {
      **{n: {"kernel": (16, 16)} for n in ("query", "key", "value")},
      "out": {"kernel": (16, 16)},
    },
  },
  "text": {"embedding": (24, 16)},
}
TX = optax.adamw(1e-3)


def make_state():
  """A state whose every array is drawn, moments included."""
  rng = np.random.default_rng(0)

  def draw(x):
    return rng.normal(size=x.shape).astype(x.dtype)

  params = jax.tree.map(
    lambda shape: np.zeros(shape, np.float32),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  variables = {"params": params, "batch_stats": {"mean": np.zeros(3, "f")}}
  state = init_state(variables, TX, ema=True)
  return jax.tree.map(draw, state)


def shardings(state, mesh):
  return state_shardings(state, mesh, default_rules(mesh), TX)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  state = make_state()
  folder = tmp_path_factory.mktemp("elastic")
  mesh = build_mesh(SAVED)
  checkpoints = Checkpoints(folder, CheckpointConfig(every=1))
  laid_out = jax.device_put(state, shardings(state, mesh))
  checkpoints.save(1, laid_out, data={}, meta={})
  checkpoints.close()
  return folder, state


def assert_equal(found, expected):
  found, expected = named_leaves(found), named_leaves(expected)
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype, name
    np.testing.assert_array_equal(np.asarray(found[name]), x, err_msg=name)


@on_eight_devices
@pytest.mark.parametrize("name", OTHERS)
def test_on_another_mesh(saved, name):
  folder, state = saved
  devices = jax.devices()[:1] if name == "one device" else None
  layout = shardings(state, build_mesh(OTHERS[name], devices))
  checkpoints = Checkpoints(folder, CheckpointConfig(every=1), read_only=True)
  found, _, _ = checkpoints.restore(abstract(state, layout))
  assert_equal(found, state)
  jax.tree.map(lambda x, s: _assert_lies_so(x, s), found, layout)
  if name in ("fsdp", "tensor"):
    up = found.opt_state[0].mu["encoder"]["mlp"]["up"]["kernel"]
    assert not up.sharding.is_fully_replicated


def _assert_lies_so(x, sharding):
  assert x.sharding.is_equivalent_to(sharding, x.ndim)


@on_eight_devices
def test_in_another_dtype(saved):
  folder, state = saved
  narrow = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16),
    {"params": state.params, "batch_stats": state.batch_stats},
  )
  layout = shardings(state, build_mesh(OTHERS["fsdp"]))
  like = abstract(
    narrow, {"params": layout.params, "batch_stats": layout.batch_stats}
  )
  checkpoints = Checkpoints(folder, CheckpointConfig(every=1), read_only=True)
  found = checkpoints.restore_variables(like)
  expected = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16),
    {"params": state.params, "batch_stats": state.batch_stats},
  )
  assert_equal(found, expected)


@on_eight_devices
def test_as_numpy_without_any_mesh(saved):
  folder, state = saved
  checkpoints = Checkpoints(folder, CheckpointConfig(every=1), read_only=True)
  found = checkpoints.restore_on_host(["params", "ema"])
  assert_equal(found, {"params": state.params, "ema": state.ema})
  assert isinstance(jax.tree.leaves(found)[0], np.ndarray)


@pytest.mark.slow
@starts_eight_devices
def test_all_of_this_on_eight_devices():
  run_on_eight_devices(__file__)
