"""The training step: metrics, accumulation, averages, and halting."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from trajvit.training.functional import functional
from trajvit.training.step import merge

KEY = jax.random.key(0)


def test_loss_falls_and_metrics_are_those_of_the_batch(tiny):
  make_training, make_batch, _ = tiny
  state, step, _, _ = make_training()
  step = jax.jit(step, donate_argnums=0)
  batch, losses = make_batch(), []
  for _ in range(30):
    state, metrics = step(state, batch, KEY)
    losses.append(float(metrics["train/loss"]))
  assert losses[-1] < 0.7 * losses[0]
  assert int(state.step) == 30
  assert step._cache_size() == 1  # compiled once

  mask = batch.text.mask[:, :3]
  assert metrics["train/tokens_per_clip"] == pytest.approx(mask.sum() / 8)
  assert metrics["train/padding_%"] == pytest.approx(100 * (1 - mask.mean()))
  assert "train/toy/gap" in metrics
  assert {x.dtype for x in metrics.values()} == {jnp.dtype("float32")}


def test_same_in_both_nnx_modes(tiny):
  make_training, make_batch, assert_trees_equal = tiny
  results = []
  for graph_mode in (True, False):
    with nnx.set_graph_mode(graph_mode):
      state, step, _, _ = make_training()
      results.append(jax.jit(step)(state, make_batch(), KEY))
  assert_trees_equal(*results)


def test_running_statistics_reach_the_state(tiny):
  make_training, make_batch, _ = tiny
  state, step, _, _ = make_training()
  batch = make_batch()
  state, _ = jax.jit(step)(state, batch, KEY)
  mean = (batch.clip.frames / 255).reshape(8, 3, 8).mean((0, 1))
  np.testing.assert_allclose(
    state.batch_stats["running"]["mean"], 0.5 * mean, rtol=1e-5
  )


def test_accumulation_is_the_mean_over_strided_rows(tiny):
  make_training, make_batch, _ = tiny
  batch = make_batch()
  state, step, _, apply = make_training(accumulate_steps=2)
  after, metrics = jax.jit(step)(state, batch, KEY)

  def loss(params, batch_stats, rows):
    variables = {"params": params, "batch_stats": batch_stats}
    outputs = apply(variables, rows, None)
    gap = outputs["video_embedding"] - outputs["text_embedding"]
    value = jnp.square(gap).mean() / outputs["temperature"]
    return value, outputs["batch_stats"]

  batch_stats, losses, grads = state.batch_stats, [], []
  for i in range(2):
    rows = jax.tree.map(lambda x, i=i: x[i::2], batch)
    (value, batch_stats), grad = jax.value_and_grad(loss, has_aux=True)(
      state.params, batch_stats, rows
    )
    losses.append(value)
    grads.append(grad)
  norm = optax.global_norm(jax.tree.map(lambda a, b: (a + b) / 2, *grads))
  assert metrics["train/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
  assert metrics["train/grad_norm"] == pytest.approx(float(norm), rel=1e-5)
  np.testing.assert_allclose(
    after.batch_stats["running"]["mean"],
    batch_stats["running"]["mean"],
    rtol=1e-6,
  )


def test_accumulation_refuses_a_batch_that_it_does_not_divide(tiny):
  make_training, make_batch, _ = tiny
  state, step, _, _ = make_training(accumulate_steps=3)
  with pytest.raises(ValueError, match="must divide the batch size 8, got 3"):
    step(state, make_batch(), KEY)


def test_moving_average(tiny):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, _, _ = make_training(ema_decay=0.9)
  step = jax.jit(step, donate_argnums=0)
  expected = jax.tree.map(np.array, state.params)
  for i in range(3):
    state, _ = step(state, make_batch(i), KEY)
    expected = jax.tree.map(
      lambda average, x: 0.9 * average + 0.1 * np.array(x),
      expected,
      state.params,
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    state.ema,
    expected,
  )
  assert_trees_equal(state.variables["params"], state.ema)


def test_randomness_depends_on_the_step_alone(tiny):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, _, _ = make_training(noise=0.1)
  step = jax.jit(step)
  batch = make_batch()
  once, _ = step(state, batch, KEY)
  again, _ = step(state, batch, KEY)
  assert_trees_equal(once, again)
  later = dataclasses.replace(state, step=state.step + 1)
  losses = [step(s, batch, KEY)[1]["train/loss"] for s in (state, later)]
  assert losses[0] != losses[1]


def test_a_loss_that_is_not_finite_halts_for_good(tiny):
  make_training, make_batch, assert_trees_equal = tiny
  state, step, _, _ = make_training(ema_decay=0.9)
  step = jax.jit(step)
  state, _ = step(state, make_batch(), KEY)
  good = make_batch(1)
  bad = dataclasses.replace(good, label=np.full(8, -1, np.int32))

  halted, metrics = step(state, bad, KEY)
  assert not np.isfinite(metrics["train/loss"])
  later, metrics = step(halted, good, KEY)
  assert np.isfinite(metrics["train/loss"])
  for frozen in (halted, later):
    assert bool(frozen.halted)
    assert_trees_equal(dataclasses.replace(frozen, halted=state.halted), state)


def test_merge_takes_part_of_the_statistics_and_refuses_unknown_ones():
  old = {"a": {"mean": 0, "variance": 1}, "b": {0: {"mean": 2}}}
  merged = merge(old, {"a": {"mean": 5}, "b": {0: {"mean": 6}}})
  assert merged == {"a": {"mean": 5, "variance": 1}, "b": {0: {"mean": 6}}}
  with pytest.raises(ValueError, match="'?c'? belong to no variable"):
    merge(old, {"c": {"mean": 1}})


def test_a_model_with_other_state_is_refused():
  with pytest.raises(ValueError, match="Non-exhaustive"):
    functional(lambda: nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
