"""One set of parameters, several budgets: M3 and TokenFLEX."""

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.matryoshka import Matryoshka
from trajvit.reducers.token_flex import TokenFlex
from trajvit.types import Tokens

GRID, WIDTH, COUNT = (2, 4, 4), 6, 33


@pytest.fixture
def tokens(rng):
  mask = np.ones((2, COUNT), bool)
  mask[1, -16:] = False
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, 1).astype(np.float32),
    protected=protected,
  )


def flex(budget, seed=0):
  return TokenFlex(
    k=33,
    grid=GRID,
    budgets=(4, 2, 1),
    budget=budget,
    width=WIDTH,
    rngs=nnx.Rngs(params=seed),
  )


def means(frames, side):
  """[B, T 4 4, D] -> [B, T side side, D]."""
  step = 4 // side
  x = frames.reshape(2, 2, side, step, side, step, -1)
  return x.mean((3, 5)).reshape(2, 2 * side**2, -1)


def test_coarse_tokens_nest_in_fine_ones(tokens):
  fine, coarse, one = (
    jax.jit(Matryoshka(k=33, grid=GRID, budget=side))(tokens)[0]
    for side in (4, 2, 1)
  )
  assert [x.mask.shape[1] for x in (fine, coarse, one)] == [33, 9, 3]
  np.testing.assert_array_equal(fine.features[0], tokens.features[0])
  for x, side in ((coarse, 2), (one, 1)):
    expected = means(tokens.features[:, 1:], side)[0]
    np.testing.assert_allclose(x.features[0, 1:], expected, atol=1e-6)
    assert x.size.sum(1).tolist() == [32, 16]
    assert x.mask[1].sum() == 1 + side**2
    np.testing.assert_array_equal(x.features[:, 0], tokens.features[:, 0])


def test_k_bounds_the_side_and_then_pools_frames(tokens):
  counts = [
    jax.eval_shape(Matryoshka(k=k, grid=GRID), tokens)[0].mask.shape[1]
    for k in (33, 32, 8, 2)
  ]
  assert counts == [33, 9, 3, 2]
  last = jax.jit(Matryoshka(k=2, grid=GRID))(tokens)[0]
  expected = tokens.features[0, 1:].mean(0)
  np.testing.assert_allclose(last.features[0, 1], expected, atol=1e-6)


def test_training_draws_a_budget_and_runs_what_inference_does(tokens):
  """All budgets have the parameters of one model."""
  drawing = flex(None)
  graphdef, state = nnx.split(drawing)
  run = jax.jit(lambda key: drawing(tokens, key=key))
  seen = set()
  for seed in range(12):
    drawn, aux = run(jax.random.key(seed))
    side = {32: 4, 8: 2, 2: 1}[int(aux["budget"])]
    if side in seen:
      continue
    seen.add(side)
    alone = flex(side, seed=1)
    nnx.update(alone, state)
    expected, told = jax.jit(alone)(tokens)
    assert drawn.mask.shape[1] == 33 and told["budget"] == aux["budget"]
    # Real tokens come first, so that the smaller one is a prefix.
    slots = expected.mask.shape[1]
    for name in ("features", "mask", "positions", "size"):
      x, y = getattr(drawn, name), getattr(expected, name)
      np.testing.assert_allclose(x[:, :slots], y, atol=1e-5)
      assert not np.any(x[:, slots:])
  assert seen == {4, 2, 1}


def test_projector_reads_every_pooled_token_alike(tokens):
  reducer = flex(2)
  got = jax.jit(reducer)(tokens)[0].features
  expected = reducer.project(reducer.norm(means(tokens.features[:, 1:], 2)))
  np.testing.assert_allclose(got[0, 1:], expected[0], atol=1e-5)


def test_errors(tokens):
  with pytest.raises(ValueError, match=r"one of \(4, 2, 1\), got 3"):
    Matryoshka(k=9, grid=GRID, budget=3)
  with pytest.raises(ValueError, match="budget 4 does not fit into k = 9"):
    Matryoshka(k=9, grid=GRID, budget=4)(tokens)
  with pytest.raises(ValueError, match="do not fit into 0 slots"):
    Matryoshka(k=1, grid=GRID)(tokens)
  short = jax.tree.map(lambda x: x[:, :20], tokens)
  with pytest.raises(ValueError, match="has 32 patches, got 20"):
    Matryoshka(k=9, grid=GRID)(short)
