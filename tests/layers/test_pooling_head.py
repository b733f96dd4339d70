import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.pooling_head import PoolingHead


def make_head(**options):
  return PoolingHead(8, 2, 12, rngs=nnx.Rngs(params=0), **options)


def test_it_is_attention_of_one_query(rng, nnx_mode):
  head = make_head(activation="relu")
  x = rng.normal(size=(3, 5, 8)).astype(np.float32)

  def linear(part, x):
    return x @ np.asarray(part.kernel) + np.asarray(part.bias)

  query = linear(head.query, np.asarray(head.latents)).reshape(2, 4)
  key = linear(head.key, x).reshape(3, 5, 2, 4)
  value = linear(head.value, x).reshape(3, 5, 2, 4)
  read = np.zeros((3, 2, 4))
  for clip in range(3):
    for k in range(2):
      logits = key[clip, :, k] @ query[k] / 2
      share = np.exp(logits) / np.exp(logits).sum()
      read[clip, k] = share @ value[clip, :, k]
  y = linear(head.out, read.reshape(3, 8))
  normed = (y - y.mean(1, keepdims=True)) / np.sqrt(
    y.var(1, keepdims=True) + 1e-6
  )
  hidden = np.maximum(linear(head.mlp.inner, normed), 0)
  expected = y + linear(head.mlp.outer, hidden)
  np.testing.assert_allclose(jax.jit(head)(x), expected, atol=1e-5)


def test_the_order_of_tokens_does_not_matter(rng):
  head = make_head(activation="gelu_tanh")
  x = rng.normal(size=(2, 5, 8)).astype(np.float32)
  read = jax.jit(head)
  np.testing.assert_allclose(read(x), read(x[:, ::-1]), atol=1e-5)


def test_heads_must_divide_the_width():
  with pytest.raises(ValueError, match="divide the width 8, got 3"):
    PoolingHead(8, 3, 12, rngs=nnx.Rngs(params=0))
