"""Plans, means and the way back, against loops over slots and their members."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.merging import merge, plan_merging, unmerge
from trajvit.types import Tokens

B, N, K, D = 4, 10, 6, 3

planned = jax.jit(plan_merging, static_argnames="slots")
merged = jax.jit(merge)


def plan(*args, **kwargs):
  """A plan in NumPy arrays."""
  return jax.device_get(planned(*args, **kwargs))


@pytest.fixture
def mask():
  """A full clip, one with gaps, one of a single token and one of none."""
  mask = np.ones((B, N), bool)
  mask[1, [0, 4, 9]] = False
  mask[2, np.arange(N) != 5] = False
  mask[3] = False
  return mask


@pytest.fixture
def target(rng, mask):
  """Up to five tokens of a clip stay, each other one joins one of them."""
  target = np.zeros((B, N), np.int32)
  for b in range(B):
    real = np.flatnonzero(mask[b])
    stay = rng.permutation(real)[:5]
    for i in real:
      target[b, i] = i if i in stay else rng.choice(stay)
  return target


def make_tokens(rng, mask, **fields):
  """Tokens with NaN in every masked slot, and sizes that are no integers."""
  shape = mask.shape
  drawn = dict(
    features=rng.normal(size=(*shape, D)),
    positions=rng.random((*shape, 3)),
    size=rng.uniform(0.5, 3, shape),
  )
  for x in drawn.values():
    x[~mask] = np.nan
  drawn = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), drawn)
  return Tokens(mask=jnp.asarray(mask), **{**drawn, **fields})


def slow_members(target, mask, order=None):
  """The members of every slot of one clip: those that stay, and who joins."""
  order = range(N) if order is None else order
  stay = [i for i in order if mask[i] and target[i] == i]
  return [[i for i in range(N) if mask[i] and target[i] == s] for s in stay]


def members(merging, b):
  """What a plan says of one clip, in the same form."""
  owner, count = np.asarray(merging.owner[b]), merging.mask[b].sum()
  return [np.flatnonzero(owner == k).tolist() for k in range(count)]


def test_a_plan_lists_the_members_of_all_that_stay(mask, target):
  merging = plan(target, mask, slots=K)
  for b in range(B):
    expected = slow_members(target[b], mask[b])
    assert members(merging, b) == expected
    assert merging.mask[b].tolist() == [k < len(expected) for k in range(K)]
    assert merging.merged[b] == mask[b].sum() - len(expected)
    heads = [slot for slot in range(N) if target[b, slot] == slot]
    heads = [slot for slot in heads if mask[b, slot]]
    assert merging.head[b, : len(heads)].tolist() == heads
  assert not np.any(merging.overflow) and np.all(merging.owner[~mask] == -1)


def test_what_stays_can_be_put_into_any_order(rng, mask, target):
  order = rng.permuted(np.tile(np.arange(N, dtype=np.int32), (B, 1)), axis=1)
  merging = plan(target, mask, slots=K, order=order)
  for b in range(B):
    expected = slow_members(target[b], mask[b], order[b])
    assert members(merging, b) == expected


def test_means_and_sums_equal_loops(rng, mask, target):
  protected = jnp.asarray(rng.random((B, N)) < 0.3)
  tokens = make_tokens(rng, mask, protected=protected)
  out = merged(tokens, plan(target, mask, slots=K))
  features, positions = np.zeros((B, K, D)), np.zeros((B, K, 3))
  size, kept = np.zeros((B, K)), np.zeros((B, K), bool)
  for b in range(B):
    for k, group in enumerate(slow_members(target[b], mask[b])):
      weight = np.asarray(tokens.size[b, group])
      size[b, k] = weight.sum()
      for i, w in zip(group, weight, strict=True):
        features[b, k] += w / size[b, k] * tokens.features[b, i]
        positions[b, k] += w / size[b, k] * tokens.positions[b, i]
        kept[b, k] |= protected[b, i] and target[b, i] == i
  np.testing.assert_allclose(out.features, features, atol=1e-6)
  np.testing.assert_allclose(out.positions, positions, atol=1e-6)
  np.testing.assert_allclose(out.size, size, rtol=1e-6)
  np.testing.assert_array_equal(out.protected, kept)
  total = np.where(mask, tokens.size, 0).sum(1)
  np.testing.assert_allclose(out.size.sum(1), total, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_token_that_is_alone_is_unchanged_bit_for_bit(rng, mask, dtype):
  tokens = make_tokens(rng, mask)
  features = tokens.features.astype(dtype)
  tokens = dataclasses.replace(tokens, features=features)
  alone = np.broadcast_to(np.arange(N, dtype=np.int32), (B, N))
  out = merged(tokens, plan(alone, mask, slots=N))
  assert out.features.dtype == dtype
  for b in range(B):
    for name in ("features", "positions", "size"):
      np.testing.assert_array_equal(
        getattr(out, name)[b, : mask[b].sum()],
        getattr(tokens, name)[b, mask[b]],
      )


def test_tokens_of_no_weight_count_alike(rng):
  # Two registers that stand for no patch join each other; one stays alone.
  mask = np.array([[True, True, True, True]])
  tokens = make_tokens(rng, mask, size=jnp.asarray([[0.0, 0, 0, 2]]))
  out = merged(tokens, plan(np.array([[0, 0, 2, 3]]), mask, slots=3))
  x = np.asarray(tokens.features[0])
  expected = [x[:2].mean(0), x[2], x[3]]
  np.testing.assert_allclose(out.features[0], expected, atol=1e-6)
  assert out.size.tolist() == [[0, 0, 2]]


def test_a_weight_takes_the_place_of_the_size():
  # A source of little saliency hardly moves what it joins.
  x = np.array([[[1, 0], [0.9, 0.1], [0, 1], [0.2, 0.8]]], np.float32)
  mask = np.ones((1, 4), bool)
  tokens = Tokens(x, mask, np.zeros((1, 4, 3)), np.ones((1, 4)))
  merging = plan(np.array([[1, 1, 3, 3]]), mask, slots=2)
  weight = jnp.array([[1, 1, 0.00403, 1]])
  out = merged(tokens, merging, weight=weight)
  expected = [[0.95, 0.05], [0.19920, 0.80080]]
  np.testing.assert_allclose(out.features[0], expected, atol=1e-5)
  np.testing.assert_allclose(out.size[0], [2, 1.00403], rtol=1e-6)


def test_unmerging_gives_all_members_what_their_slot_holds(rng, mask, target):
  merging = plan(target, mask, slots=K)
  x = rng.normal(size=(B, K, 2, 2)).astype(np.float32)
  spread = jax.jit(unmerge)(x, merging)
  for b, i in np.ndindex(B, N):
    owner = merging.owner[b, i]
    expected = x[b, owner] if mask[b, i] else np.zeros((2, 2))
    np.testing.assert_array_equal(spread[b, i], expected)


def test_what_finds_no_slot_is_counted_and_protected_tokens_go_last(rng):
  mask = np.ones((2, N), bool)
  target = np.tile(np.arange(N, dtype=np.int32), (2, 1))
  target[0, [0, 1]] = 8, 2  # of ten eight stay, 8 with a member
  protected = np.zeros((2, N), bool)
  protected[:, [7, 9]] = True
  merging = plan(target, mask, slots=K, protected=protected)
  assert members(merging, 0) == [[1, 2], [3], [4], [5], [7], [9]]
  assert members(merging, 1) == [[0], [1], [2], [3], [7], [9]]
  # 6, and 8 with its member; 4, 5, 6 and 8.
  assert merging.overflow.tolist() == [3, 4]
  assert merging.merged.tolist() == [1, 0]
  out = merged(make_tokens(rng, mask), merging)
  assert np.isfinite(out.features).all() and out.mask.all()


def test_a_target_that_does_not_stay_is_no_place_to_go():
  mask = np.array([[True, True, True, False]])
  merging = plan(np.array([[1, 2, 2, 3]]), mask, slots=2)
  assert merging.owner.tolist() == [[-1, 0, 0, -1]]
  assert merging.overflow.tolist() == [1] and merging.merged.tolist() == [1]


def test_gradients_are_the_shares_and_finite_around_nan(rng, mask, target):
  tokens, merging = make_tokens(rng, mask), plan(target, mask, slots=K)
  direction = rng.normal(size=(B, K, D)).astype(np.float32)

  @functools.partial(jax.grad, argnums=(0, 1))
  def slope(features, weight):
    given = dataclasses.replace(tokens, features=features)
    out = merge(given, merging, weight=weight)
    return (out.features * direction).sum()

  of_features, of_weight = jax.jit(slope)(tokens.features, tokens.size)
  assert np.isfinite(of_features).all() and np.isfinite(of_weight).all()
  for b, i in np.ndindex(B, N):
    expected, change = np.zeros(D), 0
    if mask[b, i]:
      k = merging.owner[b, i]
      group = np.flatnonzero(np.asarray(merging.owner[b]) == k)
      weight = np.asarray(tokens.size[b, group])[:, None]
      x = np.asarray(tokens.features[b, group])
      expected = direction[b, k] * tokens.size[b, i] / weight.sum()
      mean = (weight * x).sum(0) / weight.sum()
      away = np.asarray(tokens.features[b, i]) - mean
      change = (direction[b, k] * away).sum() / weight.sum()
    np.testing.assert_allclose(of_features[b, i], expected, atol=1e-6)
    np.testing.assert_allclose(of_weight[b, i], change, atol=1e-5)


def test_packed_tokens_are_refused(rng, mask, target):
  tokens = make_tokens(rng, mask, segments=jnp.zeros((B, N), jnp.int32))
  with pytest.raises(ValueError, match="packed"):
    merge(tokens, plan(target, mask, slots=K))


@pytest.mark.parametrize("slots", [0, N + 1])
def test_slots_must_fit(mask, target, slots):
  with pytest.raises(ValueError, match=rf"slots must be in \[1, {N}\]"):
    plan_merging(target, mask, slots=slots)
