"""Groups of parameters with a learning rate, and a clipping, of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trajvit.training.config import MeshConfig, OptimizerConfig
from trajvit.training.optim import build_optimizer, rate_groups
from trajvit.training.sharding import REPLICATE, build_mesh, state_shardings

OPTIONS = dict(learning_rate=0.1, warmup_steps=2, weight_decay=0.3)
PARAMS = {
  "judge": {"kernel": (3, 2), "bias": (2,)},
  "maker": {"kernel": (2, 2)},
}


def drawn(seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda shape: jnp.asarray(scale * rng.normal(size=shape), jnp.float32),
    PARAMS,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def trained(pick=lambda tree: tree, rate=1.0, **options):
  """Parameters after steps whose gradients are all clipped."""
  options = OPTIONS | options
  options["learning_rate"] *= rate
  tx, _ = build_optimizer(OptimizerConfig(**options), total_steps=10)
  params = pick(drawn(0))
  state = tx.init(params)
  update = jax.jit(tx.update)
  for seed in range(1, 4):
    updates, state = update(pick(drawn(seed, 9.0)), state, params)
    params = optax.apply_updates(params, updates)
  return params


def test_a_group_is_trained_as_if_it_were_alone():
  """Whatever gradients the other has: each is clipped by its own norm."""
  both = trained(rates={"^judge/": 0.5})
  judge = trained(lambda tree: {"judge": tree["judge"]}, rate=0.5)
  maker = trained(lambda tree: {"maker": tree["maker"]})
  for name, alone in (("judge", judge), ("maker", maker)):
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7),
      both[name],
      alone[name],
    )
  together = trained()["maker"]["kernel"]
  assert np.abs(both["maker"]["kernel"] - together).max() > 1e-4


def test_beside_frozen_parts_it_is_laid_out(tiny):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, tx, _ = make_training(
    rates={"^words": 0.0, "bias$": 2.0}, frozen=("^layers/0/",)
  )
  mesh = build_mesh(MeshConfig())
  shardings = state_shardings(state, mesh, REPLICATE, tx)
  assert jax.tree.structure(shardings) == jax.tree.structure(state)
  after, _ = jax.jit(step)(state, make_batch(), jax.random.key(0))
  assert jax.tree.structure(after) == jax.tree.structure(state)
  # No rate moves nothing, as no gradient does; half of the rest has moved.
  assert_trees_equal(after.params["words"], state.params["words"])
  assert_trees_equal(after.params["layers"][0], state.params["layers"][0])
  moved = after.params["layers"][1]["bias"] - state.params["layers"][1]["bias"]
  assert np.abs(moved).max() > 0


def test_patterns_are_checked():
  groups = rate_groups(drawn(0), ("judge", "maker/k"))
  assert groups["judge"] == {"kernel": "judge", "bias": "judge"}
  assert groups["maker"] == {"kernel": "maker/k"}
  with pytest.raises(ValueError, match=r"rates .*no parameter: \['critic'\]"):
    trained(rates={"critic": 0.5})
  with pytest.raises(ValueError, match="several patterns for judge/bias"):
    trained(rates={"judge": 0.5, "bias": 2.0})
  with pytest.raises(ValueError, match="rates must be at least 0"):
    OptimizerConfig(learning_rate=1.0, warmup_steps=1, rates={"judge": -1.0})
