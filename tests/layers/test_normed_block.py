"""Normed blocks are modulated ones that nothing modulates."""

import jax
import numpy as np
from flax import nnx
from tiny import drawn

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.modulated_block import ModulatedBlock
from trajvit.layers.normed_block import NormedBlock
from trajvit.ops.attention import AttentionMask

WIDTH = 12


def test_it_is_a_modulated_block_whose_gates_are_open(rng):
  block = drawn(lambda: NormedBlock(WIDTH, 2, rngs=nnx.Rngs(params=0)))
  assert block.mlp.gate.kernel.shape == (WIDTH, 2 * 4 * WIDTH // 3)
  other = drawn(lambda: ModulatedBlock(WIDTH, 2, rngs=nnx.Rngs(params=0)))
  other.attention, other.mlp = block.attention, block.mlp
  other.modulation.kernel[...] = np.zeros((WIDTH, 6 * WIDTH))
  other.modulation.bias[...] = np.repeat([1.0, 1, 0, 0, 0, 0], WIDTH)
  x = rng.normal(size=(2, 5, WIDTH)).astype(np.float32)
  mask = np.arange(5) < np.array([[5], [3]])

  @jax.jit
  def run(x, mask):
    context = Context(mask=AttentionMask(keys=mask))
    plain, aux = block(x, context)
    assert aux == {}
    condition = np.zeros((2, WIDTH), np.float32)
    return plain, other(x, condition, (5,), context)[0]

  plain, modulated = run(x, mask)
  np.testing.assert_allclose(plain, modulated, atol=1e-5)
  changed, _ = run(np.where(mask[..., None], x, 1e3), mask)
  np.testing.assert_allclose(changed[1, :3], plain[1, :3], atol=1e-5)
