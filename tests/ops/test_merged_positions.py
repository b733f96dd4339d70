"""Positions of heads and of the heaviest members, against loops."""

import functools

import jax
import numpy as np
import pytest

from trajvit.ops.merged_positions import head_positions, member_positions
from trajvit.ops.merging import plan_merging

B, N, K = 3, 8, 5


@functools.partial(jax.jit, static_argnames="k")
def places(positions, target, mask, weight, k):
  merging = plan_merging(target, mask, slots=K)
  held = member_positions(positions, merging, k, weight=weight)
  return merging, head_positions(positions, merging), held


def make_clips(rng):
  """Slots of 1 to 4 members; a clip with gaps and one without a token."""
  mask = np.ones((B, N), bool)
  mask[1, [0, 3, 6]] = False
  mask[2] = False
  target = np.array([[1, 1, 1, 3, 1, 5, 5, 7], [0, 2, 2, 0, 4, 2, 6, 4]])
  target = np.concatenate([target, np.zeros((1, N), int)])
  positions = rng.random((B, N, 3)).astype(np.float32)
  weight = rng.integers(1, 3, (B, N)).astype(np.float32)  # with many ties
  positions[~mask], weight[~mask] = np.nan, np.nan
  return positions, target.astype(np.int32), mask, weight


@pytest.mark.parametrize("k", [1, 3])
def test_equal_loops(rng, k):
  positions, target, mask, weight = make_clips(rng)
  found = places(positions, target, mask, weight, k)
  merging, heads, held = jax.device_get(found)
  assert merging.mask.sum(1).tolist() == [4, 2, 0]
  for b, slot in np.ndindex(B, K):
    if not merging.mask[b, slot]:
      assert not np.any(heads[b, slot]) and not np.any(held[b, slot])
      continue
    head = merging.head[b, slot]
    group = [i for i in range(N) if mask[b, i] and target[b, i] == head]
    group.sort(key=lambda i: (-weight[b, i], i))
    expected = [positions[b, group[j % len(group)]] for j in range(k)]
    np.testing.assert_array_equal(held[b, slot], expected)
    np.testing.assert_array_equal(heads[b, slot], positions[b, head])


def test_weights_decide_and_members_take_turns():
  positions = np.repeat(np.arange(5.0)[None, :, None], 3, axis=2)
  mask = np.ones((1, 5), bool)
  merging = plan_merging(np.array([[0, 0, 0, 3, 3]]), mask, slots=2)
  weight = np.array([[0.9, 0.1, 0.5, 0.2, 0.3]])
  held = member_positions(positions, merging, 3, weight=weight)
  assert held[0, :, :, 0].tolist() == [[0, 2, 1], [4, 3, 4]]
  with pytest.raises(ValueError, match="k must be at least 1, got 0"):
    member_positions(positions, merging, 0, weight=weight)
