"""Modulated blocks: nothing at first, and then what a loop computes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tiny import drawn

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.modulated_block import (
  ModulatedBlock,
  ModulatedHead,
  spread,
)

WIDTH, HEADS, LENGTHS = 8, 2, (3, 2)


def block():
  return ModulatedBlock(WIDTH, HEADS, groups=2, rngs=nnx.Rngs(params=0))


def inputs(rng):
  x = rng.normal(size=(2, sum(LENGTHS), WIDTH)).astype(np.float32)
  return x, rng.normal(size=(2, WIDTH)).astype(np.float32)


def test_at_first_it_is_the_identity_and_the_head_is_zero(rng):
  x, condition = inputs(rng)

  @jax.jit
  def run(x, condition):
    head = ModulatedHead(WIDTH, 5, rngs=nnx.Rngs(params=0))
    return *block()(x, condition, LENGTHS, Context()), head(x, condition)

  got, aux, out = run(x, condition)
  np.testing.assert_array_equal(got, x)
  assert aux == {}
  np.testing.assert_array_equal(out, np.zeros((2, 5, 5)))


def normed(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def silu(x):
  return x / (1 + np.exp(-x))


def kernel(linear):
  return np.asarray(linear.kernel[...], np.float64)


def slow(block, x, condition):
  """One clip: x [N, D], condition [D]."""
  m = silu(condition) @ kernel(block.modulation)
  m = (m + np.asarray(block.modulation.bias[...])).reshape(2, 6, WIDTH)
  m = np.repeat(m, LENGTHS, axis=0)  # [N, 6, D]
  gate, gate_mlp, shift, scale, shift_mlp, scale_mlp = m.swapaxes(0, 1)
  y = normed(x) * (1 + scale) + shift
  dim = WIDTH // HEADS
  read = np.zeros_like(x)
  for head in range(HEADS):
    part = slice(head * dim, (head + 1) * dim)
    q, k, v = (
      (y @ kernel(linear))[:, part]
      for linear in (
        block.attention.query,
        block.attention.key,
        block.attention.value,
      )
    )
    logits = normed(q) @ normed(k).T * 8 / dim
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    read[:, part] = weights / weights.sum(-1, keepdims=True) @ v
  x = x + gate * (read @ kernel(block.attention.out))
  y = normed(x) * (1 + scale_mlp) + shift_mlp
  hidden = silu(y @ kernel(block.mlp.gate)) * (y @ kernel(block.mlp.up))
  return x + gate_mlp * (hidden @ kernel(block.mlp.down))


def test_equals_a_loop(rng):
  module = drawn(block)
  assert module.mlp.gate.kernel.shape == (WIDTH, 2 * 4 * WIDTH // 3)
  x, condition = inputs(rng)
  got, _ = jax.jit(lambda x, c: module(x, c, LENGTHS, Context()))(x, condition)
  for i in range(2):
    want = slow(module, x[i].astype(np.float64), condition[i])
    np.testing.assert_allclose(got[i], want, atol=1e-4)


def test_groups_are_spread_over_their_tokens():
  groups = jnp.arange(6.0).reshape(1, 3, 2)
  got = spread(groups, (2, 0, 1))
  np.testing.assert_array_equal(got[0], [[0, 1], [0, 1], [4, 5]])
