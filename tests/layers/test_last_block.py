import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.last_block import LastBlock

HEADS = 2


@pytest.fixture
def last(rng):
  block = Block(8, HEADS, 16, rngs=nnx.Rngs(params=0))
  mask = np.ones((2, 5), bool)
  mask[1, 3:] = False
  x = rng.normal(size=(2, 5, 8)).astype(np.float32) * mask[..., None]
  return LastBlock(block, x, mask)


def by_hand(last):
  """Queries and keys of every head, [B, K, N, d]."""
  x = last.block.norm_attention(last.x)
  heads = (last.block.attention.query(x), last.block.attention.key(x))
  return [np.asarray(h).reshape(2, 5, HEADS, 4).swapaxes(1, 2) for h in heads]


def test_keys_are_means_over_heads(last):
  np.testing.assert_allclose(last.keys(), by_hand(last)[1].mean(1), atol=1e-6)


def test_attention_is_the_softmax_over_real_keys(last):
  query, key = by_hand(last)
  got = np.asarray(last.attention())
  for b, real in enumerate([5, 3]):
    logits = query[b, :, :real] @ key[b, :, :real].swapaxes(1, 2) / 2
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
      got[b, :real, :real], expected.mean(0), atol=1e-6
    )
  assert not got[1, 3:].any() and not got[1, :, 3:].any()


def test_what_is_received_is_a_mean_over_queries(last):
  attention = np.asarray(last.attention())
  np.testing.assert_allclose(last.received()[0], attention[0].mean(0))
  np.testing.assert_allclose(
    last.received()[1], attention[1, :3].mean(0), atol=1e-6
  )
  some = np.array([[0, 1, 1, 0, 0], [1, 0, 0, 1, 0]], bool)
  np.testing.assert_allclose(
    last.received(some)[0], attention[0, 1:3].mean(0), atol=1e-6
  )
  np.testing.assert_allclose(last.received(some)[1], attention[1, 0])


def test_the_update_is_what_the_perceptron_added(last):
  """The block's output is its input, attention's branch, and the update."""
  short = jax.tree.map(lambda x: x[1:, :3], (last.x, last.mask))
  out, _ = last.block(short[0])
  y, _ = last.block.attention(last.block.norm_attention(short[0]))
  np.testing.assert_allclose(
    last.update()[1, :3], (out - short[0] - y)[0], atol=1e-5
  )
  assert not jnp.any(last.update()[1, 3:])
