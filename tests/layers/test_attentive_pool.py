"""The pooling of probes against a loop written from its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.attentive_pool import AttentivePool

HEADS, WIDTH = 2, 8
MASK = np.array([[True, True, False, True], [True] * 4, [False] * 4])


@pytest.fixture
def x(rng):
  return rng.normal(size=(3, 4, WIDTH)).astype(np.float32)


def build():
  pool = AttentivePool(WIDTH, num_heads=HEADS, rngs=nnx.Rngs(params=0))
  graphdef, state = nnx.split(pool)
  # Drawn anew and large: no attention is flat, no norm is the initial one.
  leaves, tree = jax.tree.flatten(state)
  rng = np.random.default_rng(1)
  leaves = [rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
  return nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))


def norm(layer, x):
  x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
  return x * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])


def linear(layer, x):
  return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])


def slow(pool, tokens):
  """One set of real tokens, one head at a time."""
  seen = [norm(pool.norm, token) for token in tokens.astype(np.float64)]
  read, dim = [], WIDTH // HEADS
  for head in range(HEADS):
    part = slice(head * dim, (head + 1) * dim)
    query = np.asarray(pool.latents[...])[head]
    keys = [linear(pool.key, token)[part] for token in seen]
    values = [linear(pool.value, token)[part] for token in seen]
    weights = np.exp([key @ query / np.sqrt(dim) for key in keys])
    total = sum(w * v for w, v in zip(weights, values, strict=True))
    read.append(total / weights.sum())
  return norm(pool.norm_out, linear(pool.out, np.concatenate(read)))


def test_equals_the_definition(x, nnx_mode):
  pool = build()
  got = jax.jit(lambda x: pool(x, MASK))(x)
  assert got.shape == (3, WIDTH)
  for i in range(2):
    np.testing.assert_allclose(got[i], slow(pool, x[i, MASK[i]]), atol=1e-4)


def test_it_reads_a_set(x, rng):
  pool = build()
  order = rng.permutation(4)
  shuffled = pool(x[:, order], MASK[:, order])
  np.testing.assert_allclose(shuffled, pool(x, MASK), atol=1e-5)


@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_padding_is_never_read(x, fill):
  graphdef, state = nnx.split(build())

  @jax.jit
  def loss(state, x):
    pooled = nnx.merge(graphdef, state)(x, MASK)
    return jnp.sin(pooled).sum(), pooled

  step = jax.value_and_grad(loss, (0, 1), has_aux=True)
  clean = step(state, x)
  dirty = step(state, np.where(MASK[..., None], x, fill))
  for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(b).all()


def test_heads_must_divide_the_width():
  with pytest.raises(ValueError, match="must divide the width 8, got 3"):
    AttentivePool(8, num_heads=3, rngs=nnx.Rngs(params=0))
