"""FSQ's perturbations, which only training has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.finite_scalar import normalize, squash
from trajvit.quantizers.fsq import FSQ

LEVELS = (8, 5, 3)
KEY = jax.random.key(0)


@pytest.fixture
def z(rng):
  return jnp.asarray(rng.normal(size=(8, 4, 3)), jnp.float32)


MASK = np.ones((8, 4), bool)
PLAIN = FSQ(levels=LEVELS, dim=3)
plain = jax.jit(lambda z: PLAIN(z, MASK))


def test_clips_that_are_not_rounded_keep_true_indices(z):
  codes, aux = plain(z)
  continuous = normalize(squash(z, LEVELS), LEVELS)
  dropping = FSQ(levels=LEVELS, drop_quant_p=0.5, dim=3)
  call = jax.jit(lambda z: (dropping(z, MASK, key=KEY), dropping(z, MASK)))
  (found, dropped_aux), (inference, _) = call(z)
  rounded = np.asarray((found == codes).all((1, 2)))
  smooth = np.isclose(found, continuous, atol=1e-6).all((1, 2))
  assert (rounded ^ smooth).all() and 0 < rounded.sum() < 8
  np.testing.assert_array_equal(dropped_aux["indices"], aux["indices"])
  np.testing.assert_array_equal(inference, codes)


def test_corrupted_tokens_are_random_codes_without_gradient(z):
  clean, aux = plain(z)
  corrupting = FSQ(
    levels=LEVELS, corrupt_p=1.0, corrupt_share=(0.5, 0.5), dim=3
  )

  def call(z):
    codes, aux = corrupting(z, MASK, key=KEY)
    return codes.sum(), (codes, aux)

  gradient, (codes, found) = jax.jit(jax.grad(call, has_aux=True))(z)
  untouched = np.asarray(gradient != 0).all(-1)
  assert not np.asarray(gradient)[~untouched].any()
  assert 0.2 < untouched.mean() < 0.8
  np.testing.assert_array_equal(codes[untouched], clean[untouched])
  assert (codes != clean)[~untouched].any(-1).mean() > 0.9
  grid = np.asarray(codes) * (np.asarray(LEVELS) // 2)
  np.testing.assert_array_equal(grid, np.round(grid))
  np.testing.assert_array_equal(found["indices"], aux["indices"])


def test_a_call_in_five_corrupts(z):
  corrupting = FSQ(levels=LEVELS, corrupt_share=(0.9, 1.0), dim=3)
  clean, _ = plain(z)
  keys = jax.random.split(KEY, 200)
  call = jax.jit(
    jax.vmap(lambda key: (corrupting(z, MASK, key=key)[0] != clean).any())
  )
  assert 0.1 < call(keys).mean() < 0.3


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(levels=(8, 5)), "a level for each of 3"),
    (dict(levels=(8, 5, 1)), "at least 2"),
    (dict(levels=(2048, 2048, 512)), "too many for an int32"),
    (
      dict(levels=LEVELS, drop_quant_p=1.5),
      r"drop_quant_p must be in \[0, 1\]",
    ),
  ],
)
def test_what_cannot_be_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    FSQ(dim=3, **options)
