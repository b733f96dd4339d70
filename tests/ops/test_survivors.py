import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.survivors import patch_budget, patch_sizes, survivors
from trajvit.ops.token_grid import on_grid
from trajvit.types import Tokens

GRID = (2, 1, 3)


def make_tokens(rng):
  """A class token that is not marked as protected, and 6 patches."""
  mask = np.ones((1, 7), bool)
  mask[0, 5] = False
  features = rng.normal(size=(1, 7, 2))
  features[~mask] = np.nan
  return Tokens(
    features=jnp.asarray(features, jnp.bfloat16),
    mask=mask,
    positions=rng.random((1, 7, 3)).astype(np.float32),
    size=np.where(mask, np.arange(7), np.nan).astype(np.float32),
  )


def test_the_best_patches_stay_behind_the_prefix(rng):
  tokens = make_tokens(rng)

  @jax.jit
  def run(tokens):
    patches = on_grid(tokens, GRID)
    return survivors(
      tokens,
      patches,
      3,
      features=patches.features.astype(jnp.float32) + 1,
      size=patch_sizes(tokens, patches) * 2,
      kept=jnp.asarray([[[0, 1, 1], [1, 1, 0]]], bool),
      keys=(jnp.asarray([[[9, 1, 2], [3, 4, 9]]]),),
    )

  left, aux = run(tokens)
  assert aux["indices"].tolist() == [[0, 3, 4]] and aux[
    "overflow"
  ].tolist() == [1]
  assert left.features.dtype == jnp.bfloat16 and left.mask.all()
  assert left.size.tolist() == [[0, 6, 8]]
  np.testing.assert_array_equal(left.positions, tokens.positions[:, [0, 3, 4]])
  np.testing.assert_array_equal(left.features[:, 0], tokens.features[:, 0])
  expected = tokens.features[:, [3, 4]].astype(jnp.float32) + 1
  np.testing.assert_allclose(
    left.features[:, 1:].astype(jnp.float32), expected, rtol=1e-2
  )


@pytest.mark.parametrize("k", [1, 8])
def test_k_must_leave_a_slot(rng, k):
  patches = on_grid(make_tokens(rng), GRID)
  assert patch_budget(3, patches) == 2
  with pytest.raises(ValueError, match=rf"k must be in \[2, 7\].* got {k}"):
    patch_budget(k, patches)
