"""Slot attention against a loop, its aux, and the contract of tokenizers."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from grouping_contract import (
  STEM,
  GroupingContract,
  Step,
  build,
  check_slots,
  check_traces,
  compiled,
  layer_norm,
  linear,
  prepared,
  softmax,
)

from trajvit.layers.slot_attention import SlotAttention
from trajvit.objectives.grouping import grouping
from trajvit.types import Batch

SLOTS = 6


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module", params=["clip", "frame"])
def video(request):
  return request.param


def make(video):
  rounds = 2 if video == "clip" else 1
  return build("slots", stem=STEM, num_slots=SLOTS, rounds=rounds, video=video)


@pytest.fixture(scope="module")
def step(video):
  return Step(make(video))


def slow_round(layer, slots, x, mask):
  """One round on one clip: inputs choose slots, slots average and change."""
  sigmoid = np.vectorize(lambda z: 1 / (1 + np.exp(-z)))
  inputs = layer_norm(layer.norm_inputs, x)
  queries = linear(layer.query, layer_norm(layer.norm_slots, slots))
  logits = np.zeros((len(x), len(slots)))
  shares = np.zeros_like(logits)
  for i, key in enumerate(linear(layer.key, inputs)):
    logits[i] = [key @ query / np.sqrt(len(key)) for query in queries]
    shares[i] = softmax(logits[i]) * mask[i]
  out = np.zeros_like(slots)
  for m, slot in enumerate(slots):
    won = sum(
      share * value
      for share, value in zip(
        shares[:, m], linear(layer.value, inputs), strict=True
      )
    )
    won = won / (shares[:, m].sum() + 1e-8)
    new = np.split(linear(layer.update.news, won), 3)
    old = np.split(linear(layer.update.state, slot), 3)
    reset, keep = sigmoid(new[0] + old[0]), sigmoid(new[1] + old[1])
    slot = keep * slot + (1 - keep) * np.tanh(new[2] + reset * old[2])
    hidden = linear(layer.mlp.inner, layer_norm(layer.norm_mlp, slot))
    out[m] = slot + linear(layer.mlp.outer, np.maximum(hidden, 0))
  return out, logits


def test_rounds_equal_a_loop_over_inputs_and_slots(rng):
  layer = SlotAttention(8, rngs=nnx.Rngs(params=0))
  slots = rng.normal(size=(2, 3, 8)).astype(np.float32)
  x = rng.normal(size=(2, 5, 8)).astype(np.float32)
  mask = np.array([[True] * 5, [True, False, True, False, False]])
  got, logits = compiled(lambda *args: layer(*args, 2))(slots, x, mask)
  for b in range(2):
    expected = slots[b].astype(np.float64)
    for _ in range(2):
      expected, expected_logits = slow_round(layer, expected, x[b], mask[b])
    np.testing.assert_allclose(got[b], expected, atol=1e-5)
    np.testing.assert_allclose(logits[b], expected_logits, atol=1e-5)


def test_aux_is_that_of_a_segmenter(step, clip):
  tokens, aux = step(clip)
  assert aux["logits"].shape == (3, 4, 8, 8, SLOTS)
  assert aux["logits"].dtype == np.float32
  owner = np.asarray(aux["logits"]).argmax(-1)
  np.testing.assert_array_equal(aux["assignment"], owner)
  assert aux["assignment"].dtype == np.int32
  for b, m in np.ndindex(3, SLOTS):
    where = np.argwhere(owner[b] == m)
    assert tokens.size[b, m] == len(where)
    if len(where):
      center = ((where + 0.5) / (4, 8, 8)).mean(0)
      np.testing.assert_allclose(tokens.positions[b, m], center, atol=1e-5)


def test_grouping_trains_the_stem(clip):
  graphdef, state = nnx.split(make("clip"))

  @compiled
  @jax.grad
  def gradient(state):
    _, aux = nnx.merge(graphdef, state)(clip)
    return grouping({"aux": {"tokenizer": aux}}, Batch(clip=clip))[0]

  stem = jax.tree.leaves(gradient(state)["stem"])
  assert all(np.isfinite(g).all() for g in stem)
  assert any(np.any(g) for g in stem)


def test_permuting_slots_permutes_tokens(step, clip, rng):
  order = rng.permutation(SLOTS)
  tokens, aux = step(clip)
  state = jax.tree.map(lambda x: x, step.state)
  state["slots"] = state["slots"].replace(state["slots"][...][order])
  moved, moved_aux = step.step(state, clip.frames, clip)[0][1]
  for a, b in zip(jax.tree.leaves(tokens), jax.tree.leaves(moved), strict=True):
    np.testing.assert_allclose(a[:, order], b, atol=1e-4)
  np.testing.assert_allclose(
    aux["logits"][..., order], moved_aux["logits"], atol=1e-4
  )


def test_frames_are_read_in_turn_or_at_once(step, clip, video):
  """With "frame" the past knows nothing of the future, with "clip" it does."""
  frames = clip.frames.copy()
  frames[:, 2:] = -frames[:, 2:]
  changed = step(dataclasses.replace(clip, frames=frames))[1]["logits"]
  same = np.isclose(changed, step(clip)[1]["logits"], atol=1e-6)
  assert same[:, :2].all() == (video == "frame")
  assert not same[:, 2:].all()


def test_slots_are_tokens(step, clip):
  check_slots(step(clip)[0], SLOTS)


class TestContract(GroupingContract):
  pass


def test_both_modes_of_flax(clip, nnx_mode, video):
  check_traces(make(video), clip, SLOTS)


def test_errors_say_what_was_expected():
  with pytest.raises(ValueError, match="clip, frame, got 'time'"):
    build("slots", stem=STEM, video="time")
  with pytest.raises(ValueError, match="at least 1, got 0 and 3"):
    build("slots", stem=STEM, num_slots=0)
