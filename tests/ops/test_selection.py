"""The slots of highest score, against Python's sort of tuples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.selection import highest, select, select_marked
from trajvit.types import Tokens

N, K = 9, 4


@functools.partial(jax.jit, static_argnames="k")
def chosen(keys, mask, protected, k=K):
  return highest(keys, k, mask=mask, protected=protected)


def slow(keys, mask, protected, k):
  """One clip: real slots by (protected, keys, slot), then masked ones."""

  def preference(slot):
    return (not protected[slot], *(-float(key[slot]) for key in keys), slot)

  real = sorted(np.flatnonzero(mask), key=preference)[:k]
  return [*sorted(real), *np.flatnonzero(~mask)[: k - len(real)]]


@pytest.fixture
def clips(rng):
  """Two clips with gaps, one of two tokens, one of none; two protected."""
  mask = np.ones((4, N), bool)
  mask[1, [0, 3, 4, 8]] = False
  mask[2, :7] = False
  mask[3] = False
  protected = np.zeros((4, N), bool)
  protected[:, [4, 7]] = True
  return mask, protected


def make_tokens(rng, mask, protected):
  features = rng.normal(size=(4, N, 3)).astype(np.float32)
  features[~mask] = np.nan
  return Tokens(
    features=jnp.asarray(features),
    mask=jnp.asarray(mask),
    positions=jnp.asarray(rng.random((4, N, 3)), jnp.float32),
    size=jnp.ones((4, N)),
    protected=jnp.asarray(protected),
  )


def test_equals_a_sort_of_tuples_with_many_ties(rng, clips):
  for _ in range(5):
    keys = tuple(rng.integers(0, 2, (3, 4, N)).astype(np.float32))
    got = chosen(keys, *clips)
    assert got.dtype == jnp.int32
    for b in range(4):
      expected = slow([key[b] for key in keys], clips[0][b], clips[1][b], K)
      np.testing.assert_array_equal(got[b], expected)


def test_one_key_equals_itself_twice(rng, clips):
  key = rng.normal(size=(4, N)).astype(np.float32)
  both = chosen((key, key, key), *clips)
  np.testing.assert_array_equal(
    highest(key, K, mask=clips[0]), highest((key,), K, mask=clips[0])
  )
  np.testing.assert_array_equal(
    highest(key, K, mask=clips[0], protected=clips[1]), both
  )


def test_integers_and_booleans_have_no_least_value_that_wins():
  mask = np.ones((1, 4), bool)
  least, largest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
  whole = np.array([[least, 0, largest, 1]], np.int32)
  assert highest(whole, 2, mask=mask).tolist() == [[2, 3]]
  assert highest(whole > 0, 2, mask=mask).tolist() == [[2, 3]]


def test_no_score_takes_a_token_behind_padding():
  mask = np.array([[False, True, True, True, False]])
  key = np.array([[9, -np.inf, np.nan, 0.0, 9]], np.float32)
  assert highest(key, 3, mask=mask).tolist() == [[1, 2, 3]]
  assert highest(key, 2, mask=mask).tolist() == [[1, 3]]
  protected = np.array([[True, False, True, False, False]])
  got = highest(key, 1, mask=mask, protected=protected)
  assert got.tolist() == [[2]]


def test_tokens_come_in_their_old_order_with_real_ones_in_front(rng, clips):
  tokens = make_tokens(rng, *clips)
  key = jnp.asarray(rng.normal(size=(4, N)), jnp.float32)
  kept, indices = select(tokens, key, K)
  assert kept.mask.sum(1).tolist() == [4, 4, 2, 0]
  assert kept.mask[2].tolist() == [True, True, False, False]
  assert not np.any(kept.features[~np.asarray(kept.mask)])
  for b in range(4):
    real = np.asarray(indices[b])[np.asarray(kept.mask[b])]
    assert (np.diff(real) > 0).all()
    np.testing.assert_array_equal(
      kept.features[b, : len(real)], tokens.features[b, real]
    )


def test_what_is_marked_is_kept_and_what_does_not_fit_is_counted(rng, clips):
  mask, protected = clips
  tokens = make_tokens(rng, mask, protected)
  marked = rng.random((4, N)) < 0.6
  marked[0] = True
  key = rng.normal(size=(4, N)).astype(np.float32)
  run = jax.jit(select_marked, static_argnums=2)
  kept, indices, overflow = run(tokens, marked, K, key)
  wanted = (marked | protected) & mask
  assert overflow.tolist() == np.maximum(wanted.sum(1) - K, 0).tolist()
  assert overflow[0] == N - K
  for b in range(4):
    expected = slow([key[b]], wanted[b], protected[b], K)
    np.testing.assert_array_equal(indices[b], expected)
    assert kept.mask[b].sum() == min(wanted[b].sum(), K)
  first, _, _ = select_marked(tokens, jnp.ones((4, N), bool), N - 1)
  assert first.mask.sum(1).tolist() == [8, 5, 2, 0]


def test_gradients_reach_what_was_kept_and_no_score(rng, clips):
  tokens = make_tokens(rng, *clips)
  key = jnp.asarray(rng.normal(size=(4, N)), jnp.float32)

  def loss(features, key):
    kept, indices = select(
      Tokens(features, tokens.mask, tokens.positions, tokens.size), key, K
    )
    return (kept.features**2).sum(), (kept.mask, indices)

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (_, (mask, indices)), (gradient, of_key) = run(tokens.features, key)
  expected = np.zeros((4, N, 3), np.float32)
  for b, j in np.argwhere(mask):
    expected[b, indices[b, j]] = 2 * tokens.features[b, indices[b, j]]
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)
  assert not np.any(of_key)


@pytest.mark.parametrize("k", [0, N + 1])
def test_k_must_be_among_the_slots(clips, k):
  with pytest.raises(ValueError, match=rf"k must be in \[1, {N}\], got {k}"):
    highest(np.zeros((4, N)), k, mask=clips[0])


def test_keys_have_the_shape_of_the_mask(clips):
  with pytest.raises(ValueError, match=r"keys must be \(4, 9\), got \(4, 8\)"):
    highest((np.zeros((4, N)), np.zeros((4, 8))), K, mask=clips[0])
