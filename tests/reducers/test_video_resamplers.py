"""BLIP-3-Video's temporal encoders and LinVT."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.blip3 import Blip3
from trajvit.reducers.linvt import LinVT, pool_runs
from trajvit.types import Tokens

GRID, WIDTH, COUNT = (4, 2, 3), 4, 25
run = jax.jit(lambda reducer, tokens: reducer(tokens))


@pytest.fixture
def tokens(rng):
  """A class token and patches, of which one and a whole frame are padding."""
  mask = np.ones((2, COUNT), bool)
  mask[1, 2] = mask[1, -6:] = False
  protected = np.zeros((2, COUNT), bool)
  protected[:, 0] = True
  return Tokens(
    features=rng.normal(size=(2, COUNT, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(protected, 0.0, mask).astype(np.float32),
    protected=protected,
  )


def build(made, **options):
  options = dict(k=8, grid=GRID, width=WIDTH, num_heads=2) | options
  return made(rngs=nnx.Rngs(params=0), **options)


def turing(**options):
  return build(Blip3, depth=1, mlp_dim=8, read=2, **options)


def test_the_mean_is_over_real_frames(tokens):
  reduced, _ = run(build(Blip3, kind="mean"), tokens)
  for b in range(2):
    for place in range(6):
      slots = np.arange(1 + place, COUNT, 6)
      slots = slots[tokens.mask[b, slots]]
      for name in ("features", "positions"):
        mean = getattr(tokens, name)[b, slots].mean(0)
        got = getattr(reduced, name)[b, 1 + place]
        np.testing.assert_allclose(got, mean, atol=1e-6)
      assert reduced.size[b, 1 + place] == len(slots)
  assert reduced.mask.sum(1).tolist() == [7, 7]


def test_attention_with_zero_logits_is_the_mean_of_the_clip(tokens):
  reducer = build(Blip3, kind="attention")
  kernel = reducer.maps.outer.kernel
  kernel[...] = jnp.zeros_like(kernel[...])
  reduced, _ = run(reducer, tokens)
  for b in range(2):
    real = tokens.mask[b] & ~tokens.protected[b]
    mean = tokens.features[b, real].mean(0)
    for got in reduced.features[b, 1:]:
      np.testing.assert_allclose(got, mean, atol=1e-5)
  np.testing.assert_allclose(reduced.size.sum(1), [24, 17], rtol=1e-5)


def test_groups_keep_places_apart_and_frames_have_a_time(tokens):
  """Three memories of two tokens: a patch of the last group reaches its own."""
  reducer = turing(groups=3)
  there = run(reducer, tokens)[0]
  assert there.mask.sum(1).tolist() == [7, 7]
  np.testing.assert_allclose(there.size[0], [0] + [4] * 6 + [0], rtol=1e-5)
  assert (there.positions >= 0).all() and (there.positions <= 1).all()
  features = tokens.features.copy()
  features[:, 6] += 1
  here = run(reducer, dataclasses.replace(tokens, features=features))[0]
  same = np.isclose(here.features[0], there.features[0], atol=1e-6).all(-1)
  assert same.tolist() == [True] * 5 + [False] * 2 + [True]
  # The same frames at other times are another clip.
  later = tokens.positions / np.array([2, 1, 1], np.float32)
  moved = run(reducer, dataclasses.replace(tokens, positions=later))[0]
  assert np.abs(moved.features - there.features)[:, 1:].max() > 1e-3


def test_linvt_averages_and_its_scores_learn(tokens):
  reducer = build(LinVT, selected=6)
  graphdef, state = nnx.split(reducer)

  def loss(state):
    reduced, aux = nnx.merge(graphdef, state)(tokens)
    return jnp.sin(reduced.features).sum(), (reduced, aux["score"])

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (reduced, score)), gradient = step(state)
  assert np.any(gradient["score"]["kernel"][...])
  assert np.any(gradient["space"][0]["value"]["kernel"][...])
  for b in range(2):
    real = np.flatnonzero(tokens.mask[b, 1:])
    best = real[np.argsort(-score[b, real])[:6]]
    x = tokens.features[b, 1 + best]
    assert (reduced.features[b, 1:] <= x.max(0) + 1e-5).all()
    assert (reduced.features[b, 1:] >= x.min(0) - 1e-5).all()
  np.testing.assert_allclose(reduced.size.sum(1), [24, 17], rtol=1e-5)


def test_runs_are_means_of_real_tokens_in_a_row(tokens):
  first = jax.tree.map(lambda x: x[:1, :5], tokens)
  mask = np.array([[True, True, True, False, False]])
  features = np.where(mask[..., None], first.features, 0)
  first = dataclasses.replace(first, mask=mask, features=features)
  x, real, _ = pool_runs(first, (1, 2, 4))
  assert real[0].tolist() == [True] * 3 + [False] * 2 + [True, True, False] + [
    True,
    False,
  ]
  rows = features[0]
  expected = [
    *rows,
    rows[:2].mean(0),
    rows[2],
    rows[4],
    rows[:3].mean(0),
    rows[4],
  ]
  np.testing.assert_allclose(x[0], expected, atol=1e-6)


@pytest.mark.parametrize(
  "made, options, k",
  [(Blip3, dict(kind="mean"), 6), (LinVT, {}, 1)],
)
def test_there_must_be_room(tokens, made, options, k):
  with pytest.raises(ValueError, match=f"k must be .* got {k}"):
    build(made, k=k, **options)(tokens)
