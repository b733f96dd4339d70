"""Object tokens against a loop over tracks, and the contract of tokenizers."""

import dataclasses

import numpy as np
import pytest
from grouping_contract import (
  STEM,
  GroupingContract,
  Step,
  array,
  build,
  check_permuted_tracks,
  check_slots,
  check_traces,
  compiled,
  layer_norm,
  linear,
  prepared,
)
from tiny import TRACKS

SPEC = dict(name="object_tokens", stem=STEM, stem_width=12, hidden=20)


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module")
def tokenizer():
  return build(**SPEC)


@pytest.fixture(scope="module")
def step(tokenizer):
  return Step(tokenizer)


def gelu(x):
  """The approximation by tanh, jax's default."""
  return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def slow(tokenizer, features, tracks, m):
  """The token of one track of one clip: frame by frame, then the mean."""
  seen = []
  for t, labels in enumerate(tracks):
    if not (labels == m).any():
      continue
    mean = np.repeat(np.repeat(features[t], 2, 0), 2, 1)[labels == m].mean(0)
    center = np.argwhere(labels == m).mean(0) / labels.shape
    where = np.array([(t + 0.5) / len(tracks), *center])
    phases = [np.pi * 2 ** (i / 2) * x for x in where for i in range(8)]
    place = np.concatenate([np.sin(phases), np.cos(phases), 2 * where - 1])
    x = linear(tokenizer.inner, layer_norm(tokenizer.norm, mean))
    seen.append(gelu(x + place @ array(tokenizer.place.kernel)))
  return linear(tokenizer.outer, np.mean(seen, axis=0))


def test_equals_a_loop_over_tracks_and_frames(tokenizer, step, clip):
  tokens, _ = step(clip)
  images = clip.frames.reshape(-1, *clip.frames.shape[2:])
  features = compiled(lambda x: tokenizer.stem(x))(images)
  features = np.asarray(features).reshape(3, 4, 8, 8, 12)
  for b, m in np.ndindex(3, TRACKS - 1):
    expected = slow(tokenizer, features[b], clip.tracks[b], m)
    np.testing.assert_allclose(tokens.features[b, m], expected, atol=1e-4)


def test_the_order_of_frames_is_read(step, clip):
  """The same pictures backwards, with centres that stay in place."""
  tracks = np.broadcast_to(clip.tracks[:, :1], clip.tracks.shape)
  still = dataclasses.replace(clip, tracks=tracks)
  backwards = dataclasses.replace(still, frames=clip.frames[:, ::-1].copy())
  there, back = step(still)[0], step(backwards)[0]
  change = np.abs(there.features - back.features).max(-1)
  assert (change[np.asarray(there.mask)] > 1e-3).all()


def test_slots(step, clip):
  tokens, aux = step(clip)
  check_slots(tokens, TRACKS)
  assert not tokens.mask[:, -1].any()
  owned = (clip.tracks >= 0).sum((1, 2, 3)) / 4
  np.testing.assert_allclose(tokens.size.sum(1), owned, rtol=1e-5)
  np.testing.assert_allclose(aux["area"].sum(1), tokens.size, rtol=1e-5)


def test_permuting_tracks_permutes_tokens(step, clip, rng):
  check_permuted_tracks(step, clip, rng.permutation(TRACKS))


class TestContract(GroupingContract):
  pass


def test_both_modes_of_flax(clip, nnx_mode):
  check_traces(build(**SPEC), clip, TRACKS)


def test_errors_say_what_was_expected(tokenizer, clip):
  assert tokenizer.needs_tracks
  with pytest.raises(ValueError, match="needs clip.tracks, got None"):
    tokenizer(dataclasses.replace(clip, tracks=None))
  with pytest.raises(ValueError, match="known: conv, convnext, vit"):
    build("object_tokens", stem=dict(name="resnet"))
