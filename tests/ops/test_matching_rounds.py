"""Rounds of matching, against a loop in NumPy."""

import dataclasses

import jax
import numpy as np
import pytest

from trajvit.ops.matching_rounds import merge_to_fit, slots_of_rounds
from trajvit.types import Tokens

B, N, D, K = 3, 14, 4, 4


@pytest.fixture
def tokens(rng):
  """Whole, with gaps, and with fewer tokens than slots; NaN where masked."""
  mask = np.ones((B, N), bool)
  mask[1, [2, 3, 9]] = False
  mask[2, 3:] = False
  features = rng.normal(size=(B, N, D)).astype(np.float32)
  features[~mask] = np.nan
  protected = np.zeros((B, N), bool)
  protected[:, 0] = True
  return Tokens(
    features=features,
    mask=mask,
    positions=rng.random((B, N, 3)).astype(np.float32),
    size=rng.integers(1, 4, (B, N)).astype(np.float32),
    protected=protected,
  )


def slow(features, metric, size, saliency, rounds):
  """One clip of real tokens, the first protected: features and sizes."""
  clip = [list(x) for x in (features, metric, size, saliency)]
  for _ in range(rounds):
    x, m, s, w = (np.array(part, float) for part in clip)
    unit = m / np.linalg.norm(m, axis=-1, keepdims=True)
    edges = []
    for i in range(2, len(x), 2):
      best = max(range(1, len(x), 2), key=lambda j: unit[i] @ unit[j])
      edges.append((-(unit[i] @ unit[best]), i, best))
    joined = {}
    for _, i, j in sorted(edges)[: max(len(x) - K, 0)]:
      joined[i] = j
    clip = [[], [], [], []]
    for j in range(len(x)):
      if j in joined:
        continue
      group = [j] + [i for i in joined if joined[i] == j]
      weight = np.array([s[i] * (1 if i == j else w[i]) for i in group])
      for part, values in zip(clip, (x, m, None, w), strict=True):
        if values is None:
          part.append(weight.sum())
        else:
          part.append(np.average(values[group], axis=0, weights=weight))
  return np.array(clip[0]), np.array(clip[2])


@pytest.mark.parametrize("salient", [False, True])
def test_equals_a_loop(rng, tokens, salient):
  metric = rng.normal(size=(B, N, 3)).astype(np.float32)
  saliency = rng.random((B, N)).astype(np.float32)
  given = saliency if salient else None
  run = jax.jit(lambda *args: merge_to_fit(*args, K, saliency=given))
  merged, overflow = run(tokens, np.where(tokens.mask[..., None], metric, 7))
  slots = slots_of_rounds(N, K, protected=1)
  assert slots == (8, 5, 4) and not np.any(overflow)
  assert merged.mask.sum(1).tolist() == [K, K, 3]
  for b in range(B):
    real = tokens.mask[b]
    x, size = slow(
      tokens.features[b, real],
      metric[b, real],
      tokens.size[b, real],
      saliency[b, real] if salient else np.ones(real.sum()),
      len(slots),
    )
    kept = np.asarray(merged.mask[b])
    np.testing.assert_allclose(merged.features[b, kept], x, atol=1e-5)
    np.testing.assert_allclose(merged.size[b, kept], size, rtol=1e-5)
  assert not np.any(merged.features[~np.asarray(merged.mask)])


def test_k_of_all_changes_nothing(tokens):
  merged, _ = merge_to_fit(tokens, tokens.features, N)
  clean = np.where(tokens.mask[..., None], tokens.features, 0)
  np.testing.assert_array_equal(merged.features, clean)


def test_rounds_halve_what_is_not_protected():
  assert slots_of_rounds(20, 12) == (12,)
  assert slots_of_rounds(20, 3) == (10, 5, 3)
  assert slots_of_rounds(20, 6, protected=4) == (12, 8, 6)
  assert slots_of_rounds(5, 5) == ()


def test_k_must_fit(tokens):
  with pytest.raises(ValueError, match=r"k must be in \[2, 14\], got 1"):
    merge_to_fit(tokens, tokens.features, 1)
  free = dataclasses.replace(tokens, protected=None)
  with pytest.raises(ValueError, match=r"k must be in \[1, 14\], got 15"):
    merge_to_fit(free, tokens.features, 15)
