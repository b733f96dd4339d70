"""STViT's tokens against loops, and the contract of tokenizers."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from flax import nnx
from grouping_contract import (
  GroupingContract,
  Step,
  array,
  attend,
  build,
  check_slots,
  check_traces,
  compiled,
  layer_norm,
  linear,
  prepared,
)

from trajvit.tokenizers.semantic import Recovery

SPEC = dict(patch=(1, 8, 8), windows=(2, 3, 2), mlp_ratio=1)


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module")
def tokenizer():
  return build("semantic", **SPEC)


@pytest.fixture(scope="module")
def step(tokenizer):
  return Step(tokenizer)


def slow_start(patches, grid, windows, pool):
  """Pools the real patches of one clip, one window at a time."""
  count = int(np.prod(windows))
  width = patches.features.shape[-1]
  start, where = np.zeros((count, width)), np.zeros((count, 3))
  size = np.zeros(count)
  for n, index in enumerate(np.ndindex(*windows)):
    members = [
      i
      for i, at in enumerate(np.ndindex(*grid))
      if patches.mask[i]
      and all(
        k * s // w <= a < -(-(k + 1) * s // w)
        for k, a, s, w in zip(index, at, grid, windows, strict=True)
      )
    ]
    size[n] = len(members)
    if members:
      chosen = patches.features[np.array(members)]
      start[n] = chosen.max(0) if pool == "max" else chosen.mean(0)
      where[n] = patches.positions[np.array(members)].mean(0)
  return start, where, size


def slow_layer(layer, tokens, patches, seen):
  """Tokens read tokens and patches; a perceptron follows."""
  queries = layer_norm(layer.norm_latents, tokens)
  both = np.concatenate([queries, layer_norm(layer.norm_sequence, patches)])
  key, value = np.split(linear(layer.key_value, both), 2, axis=-1)
  read = attend(linear(layer.query, queries), key, value, 2, seen)
  tokens = tokens + linear(layer.out, read)
  hidden = linear(layer.mlp.inner, layer_norm(layer.norm_mlp, tokens))
  erf = np.vectorize(math.erf)
  hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
  return tokens + linear(layer.mlp.outer, hidden)


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_equals_pooling_and_reading_written_out(clip, pool):
  mask = clip.frame_mask.copy()
  mask[0, 2:], mask[1, 0] = False, False
  clip = dataclasses.replace(clip, frame_mask=mask)
  tokenizer = build("semantic", pool=pool, **SPEC)
  tokens, aux = compiled(lambda clip: tokenizer(clip))(clip)
  for b in range(3):
    patches = jax.tree.map(lambda x, b=b: np.asarray(x[b]), aux["patches"])
    start, where, size = slow_start(patches, (4, 4, 4), (2, 3, 2), pool)
    real = size > 0
    expected = start
    seen = np.flatnonzero(np.concatenate([real, patches.mask]))
    for i, layer in enumerate(tokenizer.layers):
      expected = expected + i * array(tokenizer.centers)
      expected = slow_layer(layer, expected, patches.features, seen)
    expected = np.where(real[:, None], expected, 0)
    np.testing.assert_array_equal(tokens.mask[b], real)
    np.testing.assert_array_equal(tokens.size[b], size)
    np.testing.assert_allclose(tokens.positions[b], where, atol=1e-6)
    np.testing.assert_allclose(tokens.features[b], expected, atol=1e-4)


def test_recovery_equals_patches_that_read_tokens_one_by_one(step, clip):
  tokens, aux = step(clip)
  patches = aux["patches"]
  mask = np.asarray(tokens.mask).copy()
  mask[:, 3:6] = False
  dirty = np.where(mask[..., None], tokens.features, np.nan)
  tokens = dataclasses.replace(tokens, mask=mask, features=dirty)
  recover = Recovery(16, num_heads=2, rngs=nnx.Rngs(params=1))
  got = compiled(lambda *args: recover(*args))(patches, tokens)
  for b in range(3):
    x = np.asarray(patches.features[b])
    memory = layer_norm(recover.norm_tokens, np.nan_to_num(dirty[b]))
    read = attend(
      linear(recover.query, layer_norm(recover.norm_patches, x)),
      linear(recover.key, memory),
      linear(recover.value, memory),
      2,
      np.flatnonzero(mask[b]),
    )
    expected = x + linear(recover.out, read)
    np.testing.assert_allclose(got.features[b], expected, atol=1e-5)


def test_slots(step, clip):
  check_slots(step(clip)[0], 2 * 3 * 2)


class TestContract(GroupingContract):
  pass


def test_both_modes_of_flax(clip, nnx_mode):
  check_traces(build("semantic", **SPEC), clip, 2 * 3 * 2)


def test_errors_say_what_was_expected(clip):
  with pytest.raises(ValueError, match="max, mean, got 'sum'"):
    build("semantic", pool="sum")
  with pytest.raises(ValueError, match="at least 2, .* got 1"):
    build("semantic", depth=1)
  tokenizer = build("semantic", patch=(1, 8, 8), windows=(2, 5, 4))
  with pytest.raises(ValueError, match=r"grid \(4, 4, 4\), got \(2, 5, 4\)"):
    jax.eval_shape(lambda clip: tokenizer(clip), clip)
