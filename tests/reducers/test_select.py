import dataclasses

import jax
import numpy as np
import pytest

from trajvit.reducers.select import RandomK, UniformK
from trajvit.types import Tokens


def make_tokens(rng, batch=4, count=12):
  mask = np.ones((batch, count), bool)
  mask[1, 5:] = False
  return Tokens(
    features=rng.normal(size=(batch, count, 3)).astype(np.float32),
    mask=mask,
    positions=rng.random((batch, count, 3)).astype(np.float32),
    size=np.ones((batch, count), np.float32),
  )


@pytest.mark.parametrize("reducer", [RandomK(k=6), UniformK(k=6)])
def test_keeps_k_real_tokens_in_order(rng, reducer):
  tokens = make_tokens(rng)
  kept, aux = reducer(tokens)
  assert kept.mask.sum(1).tolist() == [6, 5, 6, 6]
  indices = np.asarray(aux["indices"])
  assert (np.diff(indices, axis=1) > 0).all()
  for b in range(4):
    real = indices[b][np.asarray(kept.mask[b])]
    np.testing.assert_array_equal(
      kept.features[b][kept.mask[b]], tokens.features[b, real]
    )
  assert not np.any(kept.features[1][~np.asarray(kept.mask[1])])


@pytest.mark.parametrize("reducer", [RandomK(k=6), UniformK(k=6)])
def test_keeps_protected_tokens(rng, reducer):
  protected = np.zeros((4, 12), bool)
  protected[:, [0, 11]] = True
  mask = np.ones((4, 12), bool)
  tokens = dataclasses.replace(make_tokens(rng), mask=mask, protected=protected)
  for key in (None, jax.random.key(3)):
    kept, aux = reducer(tokens, key=key)
    assert kept.protected.sum(1).tolist() == [2] * 4
    assert (aux["indices"][:, 0] == 0).all()


def test_uniform_steps_are_even(rng):
  tokens = make_tokens(rng, batch=2, count=128)
  tokens = dataclasses.replace(tokens, mask=np.ones((2, 128), bool))
  _, aux = UniformK(k=7)(tokens)
  gaps = np.diff(aux["indices"][0])
  assert aux["indices"][0, 0] == 0 and set(gaps.tolist()) <= {18, 19}


def test_random_draws_anew_in_training_and_once_at_inference(rng):
  tokens, reducer = make_tokens(rng), RandomK(k=3)

  def indices(key):
    return np.asarray(reducer(tokens, key=key)[1]["indices"])

  first, second = (indices(jax.random.key(seed)) for seed in (0, 1))
  assert (first != second).any() and (first[0] != first[2]).any()
  np.testing.assert_array_equal(indices(None), indices(None))


@pytest.mark.parametrize("k", [0, 13])
def test_k_must_fit(rng, k):
  with pytest.raises(ValueError, match=rf"k must be in \[1, 12\], got {k}"):
    RandomK(k=k)(make_tokens(rng))
