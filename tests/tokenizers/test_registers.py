"""Nested registers: what depends on what, and padding."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, FRAMES

from trajvit.ops.frame_rate import thinned
from trajvit.tokenizers import TOKENIZERS
from trajvit.types import Clip

N, WIDTH = 4, 16
LEAKY = {"name": "nested_registers", "patch_reads_registers": "all"}


@functools.cache
def make(each_step=True, pattern=None, **options):
  """The tokenizer's parts, and the tokens of a clip at a budget, compiled."""
  options = dict(patch=(2, 16, 16), each_step=each_step) | options
  options = {k: dict(v) if k == "timed" else v for k, v in options.items()}
  tokenizer = TOKENIZERS.build(
    dict(name="registers", num_registers=N, depth=2, **options),
    pattern=dict(pattern) if pattern else None,
    width=WIDTH,
    num_heads=2,
    clip_shape=CLIP_SHAPE,
    rngs=nnx.Rngs(params=0),
  )
  graphdef, state = nnx.split(tokenizer)

  @functools.partial(jax.jit, static_argnames="budget")
  def run(state, clip, budget=None, key=None):
    return nnx.merge(graphdef, state)(clip, budget=budget, key=key)[0]

  return tokenizer, state, run


@pytest.fixture
def clip(rng):
  """A whole clip, and one of whose frames the last two are not there."""
  mask = np.ones((2, FRAMES), bool)
  mask[1, 2:] = False
  frames = rng.normal(size=(2, *CLIP_SHAPE, 3)).astype(np.float32)
  return Clip(frames=frames, frame_mask=mask)


def first(tokens, tokenizer, count):
  """[B, S, count, D], the first of every step."""
  shape = (2, tokenizer.steps, -1, WIDTH)
  return np.asarray(tokens.features).reshape(shape)[:, :, :count]


@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("budget", [1, 3])
def test_the_first_tokens_do_not_know_how_many_there_are(
  clip, each_step, budget
):
  tokenizer, state, run = make(each_step)
  whole, few = run(state, clip), run(state, clip, budget=budget)
  assert few.features.shape[1] == tokenizer.steps * budget
  np.testing.assert_allclose(
    first(few, tokenizer, budget), first(whole, tokenizer, budget), atol=1e-5
  )


def test_patches_that_read_registers_let_them_know(clip):
  """In the first step they read none; from there on the budget is felt."""
  tokenizer, state, run = make(pattern=tuple(LEAKY.items()))
  few = first(run(state, clip, budget=1), tokenizer, 1)
  whole = first(run(state, clip), tokenizer, 1)
  np.testing.assert_allclose(few[:, 0], whole[:, 0], atol=1e-5)
  assert np.abs(few[0, 1] - whole[0, 1]).max() > 1e-3


def test_a_class_token_is_read_like_a_patch(clip):
  """By all registers of its step, with a norm in front of the blocks."""
  options = dict(class_token=True, first_norm=True, epsilon=1e-5)
  tokenizer, state, run = make(False, **options)
  assert tokenizer.class_token.shape == (1, 1, WIDTH)
  before = first(run(state, clip), tokenizer, N)
  moved = jax.tree.map(lambda x: x, state)
  moved["class_token"][...] += np.arange(WIDTH)
  after = first(run(moved, clip), tokenizer, N)
  assert np.abs(after - before).max(-1).min() > 1e-3
  _, state, run = make(False, timed=(("share", 0.5),), **options)
  clip = dataclasses.replace(clip, times=np.zeros((2, FRAMES), np.float32))
  assert jax.eval_shape(run, state, clip).features.shape[1] == N


def test_normed_registers_do_not_know_either(clip):
  """Blocks of FlexTok, places that nobody learns, and more channels."""
  options = dict(normed=True, position="plane", channels=6)
  tokenizer, state, run = make(False, **options)
  clip = dataclasses.replace(clip, frames=np.repeat(clip.frames, 2, axis=-1))
  whole, few = run(state, clip), run(state, clip, budget=2)
  np.testing.assert_allclose(
    first(few, tokenizer, 2), first(whole, tokenizer, 2), atol=1e-5
  )
  np.testing.assert_allclose(whole.features.mean(-1), 0, atol=1e-5)
  names = {str(path[0].key) for path, _ in jax.tree.leaves_with_path(state)}
  assert names == {"blocks", "patches", "registers"}
  with pytest.raises(ValueError, match="either normed or timed, got both"):
    make(False, normed=True, timed=())


def test_a_register_changes_none_in_front_of_it(clip):
  tokenizer, state, run = make()

  def probe(state):
    return first_sum(run(state, clip), tokenizer)

  def first_sum(tokens, tokenizer):
    x = tokens.features.reshape(2, tokenizer.steps, N, WIDTH)
    return (x[:, :, :2] ** 3).sum()

  gradient = jax.grad(probe)(state)["registers"][...]
  assert (gradient[:, 2:] == 0).all() and (gradient[:, :2] != 0).any()


@pytest.mark.parametrize("each_step", [False, True])
def test_frames_that_are_not_there_are_not_read(clip, each_step):
  tokenizer, state, run = make(each_step)

  @jax.jit
  def loss(state, frames):
    tokens = run(state, dataclasses.replace(clip, frames=frames))
    return (tokens.features**2).sum(), tokens

  real = clip.frame_mask[..., None, None, None]
  dirty = np.where(real, clip.frames, np.nan)
  step = jax.value_and_grad(loss, has_aux=True)
  (_, tokens), expected = step(state, clip.frames)
  (_, got), gradient = step(state, dirty)
  for x, y in zip(
    jax.tree.leaves((tokens, expected)),
    jax.tree.leaves((got, gradient)),
    strict=True,
  ):
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(x, y)
  steps = tokens.mask.reshape(2, tokenizer.steps, N).all(-1)
  assert steps.tolist() == (
    [[True, True], [True, False]] if each_step else [[True], [True]]
  )


def test_all_registers_read_all_where_they_may(clip):
  """With `dense` the last register is felt by the first one."""
  tokenizer, state, run = make(False, (("name", "dense"),))
  few = first(run(state, clip, budget=1), tokenizer, 1)
  whole = first(run(state, clip), tokenizer, 1)
  assert np.abs(few - whole).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [None, (("name", "dense"),)])
def test_redundant_registers_are_there_in_training_alone(clip, pattern):
  """And inference gives the first N of what training does."""
  tokenizer, state, run = make(pattern=pattern, redundant=2)
  registers = np.asarray(tokenizer.registers[...])
  assert tokenizer.num_registers == registers.shape[1] == N + 2
  np.testing.assert_array_equal(registers[:, N:], registers[:, [N - 1] * 2])
  trained = run(state, clip, key=jax.random.key(0))
  assert trained.features.shape[1] == tokenizer.steps * (N + 2)
  kept = tokenizer.keep_first(trained, N + 1)
  assert kept.mask.sum(1).tolist() == [2 * (N + 1), N + 1]
  read = run(state, clip)
  for name in ("features", "mask", "positions", "size"):
    want = getattr(trained, name)
    want = want.reshape(2, tokenizer.steps, N + 2, -1)[:, :, :N]
    got = getattr(read, name).reshape(want.shape)
    np.testing.assert_array_equal(got, want)


def test_the_first_of_every_step_are_kept(clip):
  tokenizer, state, run = make()
  tokens = run(state, clip)
  kept = tokenizer.keep_first(tokens, np.array([1, 3]))
  mask = np.asarray(kept.mask).reshape(2, 2, N)
  assert mask.sum(-1).tolist() == [[1, 1], [3, 0]]
  assert not np.asarray(kept.features)[~np.asarray(kept.mask)].any()


@functools.cache
def timed():
  parts = make(
    False, timed=(("share", 0.5),), position="spatial", patch=(1, 16, 16)
  )
  return parts


def test_timed_registers_know_how_far_apart_frames_are(clip):
  """Not when the first one is, nor which numbers they have."""
  _, state, run = timed()
  clip = dataclasses.replace(clip, frame_mask=None)
  times = np.tile(np.array([0, 0.1, 0.4, 0.5], np.float32), (2, 1))

  def at(times, frames=clip.frames):
    given = dataclasses.replace(clip, frames=frames, times=times)
    return np.asarray(run(state, given).features)

  plain = at(times)
  np.testing.assert_allclose(at(times + 3), plain, atol=1e-4)
  assert np.abs(at(2 * times) - plain).max() > 1e-3
  turned = [2, 0, 3, 1]
  shuffled = at(times[:, turned], clip.frames[:, turned])
  np.testing.assert_allclose(shuffled, plain, atol=1e-5)
  assert np.abs(at(times, clip.frames[:, turned]) - plain).max() > 1e-3


def test_strides_leave_frames_out_in_training():
  """Every second one, with its time, as if it had never been there."""
  rng = np.random.default_rng(0)
  clip = Clip(
    frames=rng.normal(size=(64, FRAMES, 1, 1, 3)).astype(np.float32),
    frame_mask=np.tile([True, True, True, False], (64, 1)),
  )
  thin = thinned(clip, jax.random.key(0), (1, 2))
  kinds, counts = np.unique(thin.frame_mask, axis=0, return_counts=True)
  assert kinds.astype(int).tolist() == [[1, 0, 1, 0], [1, 1, 1, 0]]
  assert counts.min() > 16


def test_budgets_are_checked(clip):
  tokenizer, *_ = make()
  with pytest.raises(ValueError, match=r"\[1, 4\], got 5"):
    tokenizer(clip, budget=5)
  with pytest.raises(ValueError, match="need a clip with times, got none"):
    jax.eval_shape(lambda: timed()[0](clip))
  with pytest.raises(ValueError, match=r"patches of one frame, got \(1, 2\)"):
    make(strides=(1, 2))
  with pytest.raises(ValueError, match="redundant must be at least 0, got -1"):
    make(redundant=-1)
