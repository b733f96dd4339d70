import jax
import numpy as np
import pytest

from trajvit.ops.merging import merge, plan_merging
from trajvit.reducers.framefusion import (
  FrameFusion,
  run_heads,
  sparsity_bound,
)
from trajvit.types import Tokens

GRID = (4, 1, 3)


def make_tokens(rng):
  """A class token and 12 patches; the last frame of clip 1 is padding."""
  mask = np.ones((2, 13), bool)
  mask[1, 10:] = False
  features = rng.normal(size=(2, 13, 3)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 13, 3)).astype(np.float32),
    size=np.ones((2, 13), np.float32),
    protected=np.broadcast_to(np.arange(13) < 1, (2, 13)),
  )


def test_a_run_becomes_its_mean():
  """One place over time, of which all but frames 0 and 3 join."""
  joins = np.asarray([0, 1, 1, 0, 1], bool).reshape(1, 5, 1)
  target = run_heads(joins, np.ones_like(joins))
  assert target.ravel().tolist() == [0, 0, 0, 3, 3]
  values = np.asarray([1, 2, 3, 10, 20], np.float32)
  mask = np.ones((1, 5), bool)
  plan = plan_merging(target.reshape(1, 5), mask, slots=2)
  merged = merge(
    Tokens(values.reshape(1, 5, 1), mask, np.zeros((1, 5, 3)), np.ones((1, 5))),
    plan,
  )
  assert merged.features.ravel().tolist() == [2, 15]


def slow(x, count, k, threshold):
  """Which of the others each of `count` tokens is merged with: lists of slots.

  The first slot is protected, and of the rest three are a frame.
  """
  unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
  cosine = {i: unit[i] @ unit[i - 3] for i in range(4, count)}
  falling = sorted(cosine, key=lambda i: -cosine[i])
  joins = falling[: max(0, count - k)]
  joins = [i for i in joins if threshold is None or cosine[i] >= threshold]
  groups = {}
  for i in range(count):
    head = i
    while head in joins:
      head -= 3
    groups.setdefault(head, []).append(i)
  while len(groups) > k:  # the most similar of those that stayed
    del groups[max(groups, key=lambda i: cosine.get(i, -2))]
  return groups


@pytest.mark.parametrize("k, threshold", [(7, None), (6, 0.3), (13, None)])
def test_equals_a_loop(rng, k, threshold):
  tokens = make_tokens(rng)
  reducer = FrameFusion(k=k, grid=GRID, threshold=threshold)
  merged, aux = jax.jit(lambda tokens: reducer(tokens))(tokens)
  for b, count in enumerate((13, 10)):
    x = tokens.features[b]
    groups = slow(x, count, k, threshold)
    found = {}
    for i, slot in enumerate(aux["owner"][b].tolist()):
      found.setdefault(slot, []).append(i)
    lost = [i for i in found.pop(-1, []) if i < count]
    assert list(found.values()) == list(groups.values())
    assert aux["overflow"][b] == len(lost)
    assert merged.mask[b].sum() == len(groups)
    for slot, (head, members) in enumerate(groups.items()):
      mean = x[members].mean(0)
      np.testing.assert_allclose(merged.features[b, slot], mean, atol=1e-6)
      assert merged.size[b, slot] == len(members)
      np.testing.assert_array_equal(
        merged.positions[b, slot], tokens.positions[b, head]
      )
    if threshold is None:
      assert len(groups) == min(k, count) and not lost


@pytest.mark.parametrize(
  "sparsities, bound", [([], 0.7), ([0.5], 0.41481), ([0.5, 0.3], 0.17033)]
)
def test_the_budget_of_28_layers(sparsities, bound):
  assert sparsity_bound(0.3, 28, sparsities) == pytest.approx(bound, abs=1e-5)
  assert sparsity_bound(1.0, 28, sparsities) == 0


def test_a_spent_budget():
  with pytest.raises(ValueError, match="cost must be at least 0.5"):
    sparsity_bound(0.1, 2, [0.0])
