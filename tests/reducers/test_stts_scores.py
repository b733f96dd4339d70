import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.stts_scores import SttsScores
from trajvit.types import Tokens

GRID, WIDTH = (3, 1, 4), 8


def make_tokens(rng):
  """A class token and 12 patches; clip 1 has no last frame."""
  mask = np.ones((2, 13), bool)
  mask[1, 9:] = False
  mask[1, 3] = False
  features = rng.normal(size=(2, 13, WIDTH)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=np.zeros((2, 13, 3), np.float32),
    size=np.ones((2, 13), np.float32),
    protected=np.broadcast_to(np.arange(13) < 1, (2, 13)),
  )


@pytest.fixture(scope="module")
def step():
  reducer = SttsScores(k=5, grid=GRID, width=WIDTH, rngs=nnx.Rngs(params=0))
  graph, state = nnx.split(reducer)

  def run(state, tokens, read):
    kept, aux = nnx.merge(graph, state)(tokens)
    return (kept.features * read).sum(), (kept, aux)

  return state, jax.jit(jax.value_and_grad(run, has_aux=True))


def test_keeps_the_highest_scores_and_changes_no_feature(rng, step):
  state, run = step
  tokens = make_tokens(rng)
  (_, (kept, aux)), _ = run(state, tokens, np.zeros(WIDTH, np.float32))
  aux = jax.tree.map(np.asarray, aux)
  for b in range(2):
    free = [i for i in range(1, 13) if tokens.mask[b, i]]
    best = sorted(free, key=lambda i: -aux["score"][b, i])[:4]
    assert aux["indices"][b].tolist() == [0, *sorted(best)]
    np.testing.assert_array_equal(
      kept.features[b], tokens.features[b, [0, *sorted(best)]]
    )
  assert not aux["score"][1, 9:].any()
  mean = aux["score"].sum() / tokens.mask.sum()
  np.testing.assert_allclose(aux["metrics"]["score"], mean, rtol=1e-6)


def test_the_loss_equals_a_loop(rng, step):
  state, run = step
  tokens = make_tokens(rng)
  (_, (_, aux)), _ = run(state, tokens, np.zeros(WIDTH, np.float32))
  aux = jax.tree.map(np.asarray, aux)
  missed = []
  for b in range(2):
    for place in range(1, 5):
      slots = [i for i in range(place, 13, 4) if tokens.mask[b, i]]
      for i, j in zip(slots, slots[1:], strict=False):
        x, y = tokens.features[b, i], tokens.features[b, j]
        cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        missed.append(1 - aux["score"][b, j] - (1 + cosine) / 2)
  expected = np.mean(np.square(missed))
  np.testing.assert_allclose(aux["losses"]["temporal"], expected, rtol=1e-4)


def test_a_token_that_helps_teaches_its_score(rng, step):
  """Along the gradient of the scorer the scores of what is read rise."""
  state, run = step
  tokens = make_tokens(rng)
  positive = np.where(tokens.mask[..., None], abs(tokens.features), 0)
  tokens = dataclasses.replace(tokens, features=positive)
  (_, (_, before)), gradient = run(state, tokens, np.ones(WIDTH, np.float32))
  moved = jax.tree.map(lambda x, g: x + 1e-3 * g, state, gradient)
  (_, (_, after)), _ = run(moved, tokens, np.ones(WIDTH, np.float32))
  kept = before["indices"][:, 1:]
  rise = np.asarray(after["score"]) - np.asarray(before["score"])
  rise = np.take_along_axis(rise, np.asarray(kept), axis=1)
  assert rise.mean() > 0
