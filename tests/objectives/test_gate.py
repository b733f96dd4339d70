"""A gate learns from the attention that it is going to thin out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.objectives import OBJECTIVES, gate_distillation
from trajvit.ops.attention import AttentionMask
from trajvit.types import Batch, Clip

LOWEST = np.finfo(np.float32).min
BATCH = Batch(Clip(frames=np.zeros((2, 1, 4, 4, 3), np.uint8)))


def outputs(*stages):
  return {"aux": {"encoder": {"attention": list(stages)}}}


def stage(scores, target, recall):
  return {
    "gate_scores": scores,
    "gate_target": target,
    "mass_recall": np.asarray(recall, np.float32),
  }


def test_equals_a_loop(rng):
  shape = 2, 2, 3, 4, 4
  scores = rng.normal(size=shape).astype(np.float32)
  target = rng.random(shape).astype(np.float32)
  decides = rng.random(shape) < 0.7
  decides[0, 0, 0, 0], decides[0, 0, 0, 1] = False, [True, False, False, False]
  target[0, 0, 0, 2] = 0  # a row of padding
  scores = np.where(decides, scores, LOWEST)
  target = np.where(decides, target, 0)
  total, count = 0, 0
  for at in np.ndindex(shape[:-1]):
    some = np.flatnonzero(decides[at])
    if len(some) < 2 or not target[at].any():
      continue
    p = target[at][some] / target[at][some].sum()
    q = np.exp(scores[at][some]) / np.exp(scores[at][some]).sum()
    total += (p * np.log(p / q)).sum()
    count += 1
  loss, metrics = gate_distillation(
    outputs(
      {},
      stage(scores[:1], target[:1], [0.2]),
      stage(scores[1:], target[1:], [0.6]),
    ),
    BATCH,
  )
  np.testing.assert_allclose(loss, total / count, rtol=1e-4)
  np.testing.assert_allclose(metrics["mass_recall"], 0.4, rtol=1e-6)


def test_rows_without_a_decision_have_no_loss_and_no_gradient():
  scores = np.full((1, 1, 1, 2, 3), LOWEST, np.float32)
  target = np.zeros_like(scores)

  def loss(scores):
    return gate_distillation(outputs(stage(scores, target, [1])), BATCH)[0]

  value, grads = jax.value_and_grad(loss)(scores)
  assert value == 0 and not np.any(grads)


def test_without_a_gate_it_says_what_it_needs():
  assert OBJECTIVES["gate_distillation"] is gate_distillation
  with pytest.raises(ValueError, match="distill=True"):
    gate_distillation(outputs({}), BATCH)


def toy():
  """A layer whose attention has a block structure that means do not show."""
  layer = SelfAttention(
    8,
    2,
    method=dict(
      name="seer_gate", k=2, distill=True, block=4, sinks=0, diagonal=False
    ),
    rngs=nnx.Rngs(params=1),
  )
  rng = np.random.default_rng(3)
  kinds = 4 * rng.normal(size=(4, 8))
  rows = rng.integers(0, 4, (6, 8)).repeat(4, axis=1)
  x = kinds[rows] + rng.normal(size=(6, 32, 8))
  return layer, x.astype(np.float32)


def test_distillation_lowers_the_divergence_and_raises_the_recall():
  layer, x = toy()
  context = Context(AttentionMask(np.arange(32) < np.full((6, 1), 27)))
  graphdef, state = nnx.split(layer)
  params = nnx.to_pure_dict(state)
  tx = optax.adam(0.03)

  def loss(params):
    out, aux = nnx.merge(graphdef, params)(x, context)
    seen = jax.tree.map(lambda leaf: leaf[None], aux)
    value, metrics = gate_distillation(outputs(seen), BATCH)
    return value, metrics["mass_recall"]

  @jax.jit
  def step(params, state):
    (value, recall), grads = jax.value_and_grad(loss, has_aux=True)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, value, recall, grads

  state, seen = tx.init(params), []
  for _ in range(30):
    params, state, value, recall, grads = step(params, state)
    seen.append((float(value), float(recall)))
  assert seen[-1][0] < 0.5 * seen[0][0]
  assert seen[-1][1] > seen[0][1] + 0.1
  # The gate alone learns: the attention has no gradient from it.
  for name in ("query", "key", "value", "out"):
    assert not any(np.any(g) for g in jax.tree.leaves(grads[name]))
  assert all(np.any(g) for g in jax.tree.leaves(grads["method"]))


def test_a_gate_that_takes_all_recalls_all():
  layer, x = toy()
  method = layer.method
  method.k = 8
  aux = jax.jit(lambda x: layer(x)[1])(x)
  np.testing.assert_allclose(aux["mass_recall"], 1, atol=1e-5)
  np.testing.assert_allclose(aux["density"], 1)
  assert jnp.all(aux["gate_target"] <= 1) and jnp.all(aux["gate_target"] > 0)
