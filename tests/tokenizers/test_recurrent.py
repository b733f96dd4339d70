"""Registers in rounds: the first are the first, and padding is not read."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, FRAMES, drawn

from trajvit.tokenizers import TOKENIZERS
from trajvit.types import Clip

ROUNDS, NEW = 3, 2


@functools.cache
def make(**options):
  """The tokenizer, its state, and its call at a budget, compiled."""
  spec = dict(name="alit", rounds=ROUNDS, num_new=NEW, depth=1) | options
  tokenizer = drawn(
    lambda: TOKENIZERS.build(
      spec,
      patch=(2, 16, 16),
      width=8,
      num_heads=2,
      clip_shape=CLIP_SHAPE,
      rngs=nnx.Rngs(params=0),
    )
  )
  graphdef, state = nnx.split(tokenizer)

  @functools.partial(jax.jit, static_argnames="budget")
  def run(state, clip, budget=None):
    def loss(state):
      tokens, _ = nnx.merge(graphdef, state)(clip, budget=budget)
      return (tokens.features[:, :NEW] ** 3).sum(), tokens

    return jax.grad(loss, has_aux=True)(state)

  return tokenizer, state, run


@pytest.fixture
def clip(rng):
  mask = np.ones((2, FRAMES), bool)
  mask[1, 2:] = False
  frames = rng.normal(size=(2, *CLIP_SHAPE, 3)).astype(np.float32)
  return Clip(frames=frames, frame_mask=mask)


def test_the_first_rounds_are_all_that_the_first_tokens_need(clip):
  tokenizer, state, run = make()
  assert tokenizer.num_registers == ROUNDS * NEW
  gradient, whole = run(state, clip)
  _, few = run(state, clip, budget=NEW + 1)
  assert whole.mask.all() and whole.features.shape == (2, ROUNDS * NEW, 8)
  np.testing.assert_allclose(
    few.features, whole.features[:, : NEW + 1], atol=1e-5
  )
  rounds = np.asarray(whole.features).reshape(2, ROUNDS, NEW, 8)
  assert np.abs(rounds[:, 1:] - rounds[:, :-1]).max((2, 3)).min() > 1e-2
  used = np.asarray(gradient["position"][...]).any((1, 2))
  assert used.tolist() == [True, False, False]


def test_frames_that_are_not_there_are_not_read(clip):
  _, state, run = make()
  real = clip.frame_mask[..., None, None, None]
  dirty = dataclasses.replace(clip, frames=np.where(real, clip.frames, np.nan))
  for x, y in zip(
    jax.tree.leaves(run(state, clip)),
    jax.tree.leaves(run(state, dirty)),
    strict=True,
  ):
    np.testing.assert_array_equal(x, y)
    assert np.isfinite(y).all()


def test_whole_rounds_are_kept(clip):
  tokenizer, state, run = make()
  _, tokens = run(state, clip)
  for keep, counts in ((np.array([1, 3]), [2, 4]), (6, [6, 6])):
    kept = tokenizer.keep_first(tokens, keep)
    assert kept.mask.sum(1).tolist() == counts
    assert not np.asarray(kept.features)[~np.asarray(kept.mask)].any()


def test_numbers_are_checked(clip):
  with pytest.raises(ValueError, match=r"budget must be in \[1, 6\], got 7"):
    make()[0](clip, budget=7)
  with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
    make(rounds=0)
