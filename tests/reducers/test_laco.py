import math

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.laco import LaCo
from trajvit.types import Tokens

GRID, WIDTH = (3, 3, 4), 2


def make_tokens(rng):
  """A class token and 36 patches, some of them masked."""
  mask = rng.random((2, 37)) < 0.8
  mask[:, 0] = True
  mask[1, 25:] = False
  features = rng.normal(size=(2, 37, WIDTH)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 37, 3)).astype(np.float32),
    size=rng.integers(1, 4, (2, 37)).astype(np.float32),
    protected=np.broadcast_to(np.arange(37) < 1, (2, 37)),
  )


def make(**options):
  return LaCo(grid=GRID, width=WIDTH, rngs=nnx.Rngs(params=0), **options)


def slow_cells(joined):
  """The slots of every cell, corner by corner, each a list over frames."""
  slot = 1 + np.arange(36).reshape(GRID)
  for t in range(0, 3, joined):
    for y in range(0, 3, 2):
      for x in range(0, 4, 2):
        corners = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)]
        yield [
          [slot[s, a, b] for s in range(t, min(t + joined, 3)) if a < 3]
          for a, b in corners
        ]


@pytest.mark.parametrize(("k", "joined"), [(None, 1), (11, 2)])
def test_equals_a_loop(rng, k, joined):
  tokens, reducer = make_tokens(rng), make(k=k)
  kernel = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
  reducer.outer.kernel = nnx.Param(kernel)
  got = jax.tree.map(np.asarray, jax.jit(lambda x: reducer(x)[0])(tokens))
  inner = np.asarray(reducer.inner.kernel[...])
  np.testing.assert_array_equal(got.features[:, 0], tokens.features[:, 0])
  assert got.protected.sum(1).tolist() == [1, 1]

  def mean(x, b, slots):
    slots = [i for i in slots if tokens.mask[b, i]]
    weight = tokens.size[b, slots]
    return (
      weight @ x[b, slots] / weight.sum() if slots else np.zeros(x.shape[2])
    )

  for b in range(2):
    for c, corners in enumerate(slow_cells(joined), 1):
      slots = [i for corner in corners for i in corner if tokens.mask[b, i]]
      assert got.mask[b, c] == bool(slots)
      if not slots:
        continue
      x = np.concatenate([mean(tokens.features, b, i) for i in corners])
      x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
      x = x @ inner
      x = x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2  # GELU
      expected = mean(tokens.features, b, slots) + x @ kernel
      np.testing.assert_allclose(got.features[b, c], expected, atol=1e-4)
      at = mean(tokens.positions, b, slots)
      np.testing.assert_allclose(got.positions[b, c], at, atol=1e-5)
      assert got.size[b, c] == tokens.size[b, slots].sum()


def test_k_must_hold_a_frame(rng):
  with pytest.raises(ValueError, match="the 4 cells of a frame .* got 4"):
    make(k=4)(make_tokens(rng))
