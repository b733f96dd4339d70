import numpy as np
import pytest

from trajvit.ops.tokens import masked_mean, prepend, take, zero_masked
from trajvit.types import Tokens


def make_tokens(rng, batch=2, count=5, width=4):
  return Tokens(
    features=rng.normal(size=(batch, count, width)).astype(np.float32),
    mask=np.array([[True] * count, [True, False, True, False, True]]),
    positions=rng.random((batch, count, 3)).astype(np.float32),
    size=np.ones((batch, count), np.float32),
  )


def test_zero_masked_empties_masked_slots_only(rng):
  tokens = make_tokens(rng)
  clean = zero_masked(tokens)
  assert not np.any(clean.features[1, 1]) and clean.size[1, 1] == 0
  np.testing.assert_array_equal(clean.features[0], tokens.features[0])


def test_take_takes_every_field(rng):
  tokens = make_tokens(rng)
  taken = take(tokens, np.array([[4, 0], [1, 2]]))
  np.testing.assert_array_equal(taken.features[0, 0], tokens.features[0, 4])
  np.testing.assert_array_equal(taken.positions[1, 1], tokens.positions[1, 2])
  np.testing.assert_array_equal(taken.mask, [[True, True], [False, True]])
  assert taken.segments is None


def test_prepended_tokens_are_real_and_protected(rng):
  tokens = prepend(np.ones((2, 4), np.float32), make_tokens(rng))
  assert tokens.features.shape == (2, 7, 4) and tokens.mask[:, :2].all()
  np.testing.assert_array_equal(
    tokens.protected, [[True] * 2 + [False] * 5] * 2
  )
  again = prepend(np.ones((1, 4), np.float32), tokens)
  assert again.protected.sum() == 6


def test_prepend_refuses_packed_rows(rng):
  tokens = make_tokens(rng)
  packed = Tokens(
    tokens.features,
    tokens.mask,
    tokens.positions,
    tokens.size,
    segments=np.zeros((2, 5), np.int32),
  )
  with pytest.raises(ValueError, match="packed"):
    prepend(np.ones((1, 4)), packed)


def test_masked_mean_leaves_out_registers_and_padding(rng):
  tokens = make_tokens(rng)
  mean = masked_mean(prepend(np.full((1, 4), 9.0, np.float32), tokens))
  np.testing.assert_allclose(mean[0], tokens.features[0].mean(0), atol=1e-6)
  np.testing.assert_allclose(
    mean[1], tokens.features[1, ::2].mean(0), atol=1e-6
  )
