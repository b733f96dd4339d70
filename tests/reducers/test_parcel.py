"""Anchors are pooled patches, queries are a prefix of one list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.parcel import Parcel
from trajvit.types import Tokens

GRID, WIDTH, COUNT = (2, 2, 2), 8, 9


def make_tokens(rng):
  mask = np.ones((2, COUNT), bool)
  mask[1, -4:] = False
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0, 1).astype(np.float32),
    protected=protected,
  )


def make(budget=None, seed=0):
  return Parcel(
    k=7,
    grid=GRID,
    budgets=(7, 4),
    budget=budget,
    width=WIDTH,
    num_heads=2,
    rngs=nnx.Rngs(params=seed),
  )


@pytest.mark.slow
def test_one_set_of_parameters_runs_every_budget(rng):
  tokens = make_tokens(rng)
  graphdef, state = nnx.split(make())

  def drawn(state, key):
    reduced, aux = nnx.merge(graphdef, state)(tokens, key=key)
    return jnp.square(reduced.features).sum(), (reduced, aux)

  step = jax.jit(jax.grad(drawn, has_aux=True))
  seen = set()
  for seed in range(8):
    gradient, (reduced, aux) = step(state, jax.random.key(seed))
    budget = 1 + int(aux["budget"])
    if budget in seen:
      continue
    seen.add(budget)
    # Of 6 free slots 2 are anchors, one a frame; of 3 it is one for both.
    queries = {7: 4, 4: 2}[budget]
    rows = np.abs(jax.tree.leaves(gradient["queries"])[0]).sum(1) > 0
    assert rows.tolist() == [True] * queries + [False] * (7 - queries)
    alone = make(budget, seed=1)
    nnx.update(alone, state)
    expected, _ = jax.jit(alone)(tokens)
    assert expected.mask.shape == (2, budget)
    for name in ("features", "mask", "positions", "size"):
      x, y = getattr(reduced, name), getattr(expected, name)
      np.testing.assert_allclose(x[:, :budget], y, atol=1e-5)
      assert not np.any(x[:, budget:])
    np.testing.assert_allclose(expected.size.sum(1), [8, 4], rtol=1e-5)
  assert seen == {7, 4}


def test_equals_the_definition(rng):
  """Clip 0 at 7 slots: 2 anchors, 4 queries, joined, then a look at patches."""
  tokens, reducer = make_tokens(rng), make()
  patches = tokens.features[:1, 1:]
  anchors = patches.reshape(1, 2, 4, WIDTH).mean(2)
  queries = reducer.queries[...][None, :4]

  @jax.jit
  def defined(x):
    x, _ = reducer.meet(x)
    return x, reducer.read(x[:, 2:], patches, np.ones((1, 8), bool))

  x, read = defined(np.concatenate([anchors, queries], axis=1))
  got, _ = jax.jit(reducer)(tokens)
  np.testing.assert_allclose(got.features[0, 1:3], x[0, :2], atol=1e-5)
  np.testing.assert_allclose(
    got.features[0, 3:], (x[:, 2:] + read)[0], atol=1e-5
  )
  # The second frame of clip 1 is padding: so is its anchor.
  assert got.mask[1].tolist() == [True] * 6 + [False]


def test_errors():
  with pytest.raises(ValueError, match=r"anchors must be in \(0, 1\), got 1"):
    Parcel(
      k=7,
      grid=GRID,
      anchors=1,
      width=WIDTH,
      num_heads=2,
      rngs=nnx.Rngs(params=0),
    )
