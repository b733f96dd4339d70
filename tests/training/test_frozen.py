"""Frozen parameters: no gradient, no decay, no moments, not one bit changed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import (
  CheckpointConfig,
  MeshConfig,
  OptimizerConfig,
)
from trajvit.training.functional import path_name
from trajvit.training.optim import frozen_mask
from trajvit.training.sharding import REPLICATE, build_mesh, state_shardings

KEY = jax.random.key(0)
FROZEN = ("^layers/0/", "latents$")
NAMES = {"latents", "layers/0/bias", "layers/0/kernel"}


def by_path(tree):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.fixture(params=[1, 2], ids=["whole", "accumulated"])
def trained(tiny, request):
  """A state before and after three steps of strong decay, and its metrics."""
  make_training, make_batch, _ = tiny
  state, step, tx, _ = make_training(
    frozen=FROZEN,
    weight_decay=0.9,
    ema_decay=0.9,
    clip_norm=0.01,
    accumulate_steps=request.param,
  )
  first, step = state, jax.jit(step)
  for i in range(3):
    state, metrics = step(state, make_batch(i), KEY)
  return first, state, metrics, tx


def test_not_one_bit_changes(trained):
  first, state, *_ = trained
  old, new, ema = map(by_path, (first.params, state.params, state.ema))
  assert old.keys() > NAMES
  for name in old:
    same = np.array_equal(old[name], new[name])
    assert same == (name in NAMES), name
    assert np.array_equal(old[name], ema[name]) == same, name


def test_they_have_no_moments(trained):
  _, state, *_ = trained
  kept = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
  trainable = [
    x
    for name, x in by_path(state.params).items()
    if name not in NAMES and x.ndim
  ]
  assert sum(x.size for x in kept) == 2 * sum(x.size for x in trainable)


def test_the_gradient_norm_is_that_of_the_others(tiny):
  make_training, make_batch, _ = tiny
  batch = make_batch()
  state, step, _, apply = make_training(frozen=FROZEN)

  def loss(params):
    variables = {"params": params, "batch_stats": state.batch_stats}
    outputs = apply(variables, batch, None)
    gap = outputs["video_embedding"] - outputs["text_embedding"]
    return jnp.square(gap).mean() / outputs["temperature"]

  grads = by_path(jax.grad(loss)(state.params))
  assert all(np.abs(grads[name]).max() > 0 for name in NAMES)
  others = [x for name, x in grads.items() if name not in NAMES]
  _, metrics = jax.jit(step)(state, batch, KEY)
  np.testing.assert_allclose(
    metrics["train/grad_norm"], optax.global_norm(others), rtol=1e-5
  )


def test_a_state_with_frozen_parts_is_laid_out_and_saved(tiny, tmp_path):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, tx, _ = make_training(frozen=FROZEN)
  mesh = build_mesh(MeshConfig())
  shardings = state_shardings(state, mesh, REPLICATE, tx)
  step = jax.jit(step, out_shardings=(shardings, None))
  state, _ = step(jax.device_put(state, shardings), make_batch(), KEY)
  checkpoints = Checkpoints(tmp_path / "kept", CheckpointConfig(every=1))
  checkpoints.save(1, state, data={}, meta={})
  like = abstract(jax.eval_shape(lambda: state), shardings)
  restored, _, _ = checkpoints.restore(like)
  checkpoints.close()
  assert_trees_equal(restored, state)


def test_a_pattern_that_freezes_nothing_is_refused(tiny):
  state = tiny[0]()[0]
  assert not any(jax.tree.leaves(frozen_mask(state.params, ())))
  with pytest.raises(ValueError, match=r"match no parameter: \['\^encoder/'\]"):
    frozen_mask(state.params, ("^encoder/", "latents"))
  with pytest.raises(ValueError, match="several patterns, got 'latents'"):
    OptimizerConfig(learning_rate=1.0, warmup_steps=1, frozen="latents")
