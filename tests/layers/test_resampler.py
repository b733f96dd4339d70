"""The resampler against a loop written from its definition."""

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.resampler import Resampler


def layer_norm(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def turn(x, position, dim):
  x = x.copy()
  for i in range(dim // 2):
    angle = position * 10000 ** (-2 * i / dim)
    c, s = np.cos(angle), np.sin(angle)
    a, b = x[2 * i], x[2 * i + 1]
    x[2 * i], x[2 * i + 1] = a * c - b * s, b * c + a * s
  return x


def slow(resampler, x, mask, heads):
  """One sequence [T, D], one head and one key at a time."""
  latents = np.asarray(resampler.latents[...], np.float64)
  for layer in resampler.layers:
    queries, sequence = layer_norm(latents), layer_norm(x)
    both = np.concatenate([queries, sequence])
    q = queries @ np.asarray(layer.query.kernel[...], np.float64)
    k, v = np.split(
      both @ np.asarray(layer.key_value.kernel[...], np.float64), 2, axis=-1
    )
    seen = [True] * len(latents) + list(mask)
    dim = q.shape[-1] // heads
    read = np.zeros_like(q)
    for h in range(heads):
      part = slice(h * dim, (h + 1) * dim)
      for i in range(len(q)):
        query = turn(q[i, part], i, dim // 2)
        keys = [j for j in range(len(both)) if seen[j]]
        logits = np.array([turn(k[j, part], j, dim // 2) @ query for j in keys])
        weights = np.exp(logits / np.sqrt(dim))
        read[i, part] = weights @ v[keys][:, part] / weights.sum()
    latents = latents + read @ np.asarray(layer.out.kernel[...], np.float64)
  return layer_norm(latents)


@pytest.mark.parametrize("num_latents", [1, 3])
def test_equals_the_definition(rng, num_latents):
  resampler = Resampler(
    16, num_heads=2, num_latents=num_latents, rngs=nnx.Rngs(params=0)
  )
  x = rng.normal(size=(2, 5, 16)).astype(np.float32)
  mask = np.array([[True] * 5, [True, False, True, False, False]])
  got = jax.jit(resampler)(x, mask)
  for b in range(2):
    expected = slow(resampler, x[b], mask[b], heads=2)
    np.testing.assert_allclose(got[b], expected, atol=1e-5)


def test_without_rotary_the_sequence_is_a_set(rng):
  x = rng.normal(size=(1, 5, 16)).astype(np.float32)
  mask = np.array([[True, True, False, True, True]])
  order = rng.permutation(5)

  def difference(use_rotary):
    resampler = Resampler(
      16, num_heads=2, use_rotary=use_rotary, rngs=nnx.Rngs(params=0)
    )
    shuffled = resampler(x[:, order], mask[:, order])
    return np.abs(resampler(x, mask) - shuffled).max()

  assert difference(use_rotary=False) < 1e-5
  assert difference(use_rotary=True) > 1e-3
