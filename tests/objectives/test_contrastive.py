import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.objectives import build_objectives, contrastive, sigmoid
from trajvit.types import Batch, Clip, Mix

OBJECTIVES = [contrastive, sigmoid]


def make(rng, clip_id, valid=None, dim=5):
  count = len(clip_id)
  video, text = rng.normal(size=(2, count, dim)).astype(np.float32)
  outputs = dict(
    video_embedding=video / np.linalg.norm(video, axis=1, keepdims=True),
    text_embedding=text / np.linalg.norm(text, axis=1, keepdims=True),
    temperature=np.float32(0.2),
    bias=np.float32(-3.0),
  )
  clip = Clip(frames=np.zeros((count, 1, 2, 2, 3), np.uint8))
  return outputs, Batch(clip=clip, clip_id=np.array(clip_id), valid=valid)


def slow_contrastive(outputs, batch):
  logits = outputs["video_embedding"] @ outputs["text_embedding"].T / 0.2
  total = 0.0
  for scores in (logits, logits.T):
    for i, row in enumerate(scores):
      positives = np.flatnonzero(batch.clip_id == batch.clip_id[i])
      log_share = row - np.log(np.exp(row).sum())
      total -= log_share[positives].mean() / len(scores) / 2
  return total


def slow_sigmoid(outputs, batch):
  logits = outputs["video_embedding"] @ outputs["text_embedding"].T / 0.2 - 3
  total = 0.0
  for i, j in np.ndindex(logits.shape):
    sign = 1 if batch.clip_id[i] == batch.clip_id[j] else -1
    total += np.log1p(np.exp(-sign * logits[i, j]))
  return total / len(logits)


@pytest.mark.parametrize("clip_id", [[0, 1, 2, 3], [4, 7, 4, 4]])
def test_equal_a_loop(rng, clip_id):
  outputs, batch = make(rng, clip_id)
  got = contrastive(outputs, batch)[0]
  np.testing.assert_allclose(got, slow_contrastive(outputs, batch), rtol=1e-5)
  got = sigmoid(outputs, batch)[0]
  np.testing.assert_allclose(got, slow_sigmoid(outputs, batch), rtol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_invalid_rows_are_never_read(rng, objective, fill):
  valid = np.array([True, False, True, True])
  outputs, batch = make(rng, [0, 0, 2, 3], valid)

  def loss(video, text):
    filled = dict(outputs, video_embedding=video, text_embedding=text)
    return objective(filled, batch)[0]

  names = ("video_embedding", "text_embedding")
  clean = [outputs[name] for name in names]
  dirty = [np.where(valid[:, None], x, fill) for x in clean]
  expected = jax.value_and_grad(loss, (0, 1))(*clean)
  got = jax.value_and_grad(loss, (0, 1))(*dirty)
  for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
    np.testing.assert_array_equal(a, b)

  kept = {k: v[valid] if np.ndim(v) else v for k, v in outputs.items()}
  _, smaller = make(rng, [0, 2, 3])
  np.testing.assert_allclose(
    expected[0], objective(kept, smaller)[0], rtol=1e-5
  )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_perfect_embeddings_have_full_accuracy(objective):
  unit = np.eye(4, dtype=np.float32)
  outputs, batch = make(np.random.default_rng(0), [0, 1, 2, 3], dim=4)
  outputs |= dict(video_embedding=unit, text_embedding=unit)
  loss, metrics = objective(outputs, batch)
  assert metrics["accuracy"] == 1.0
  shuffled = dict(outputs, text_embedding=np.roll(unit, 1, axis=0))
  worse, metrics = objective(shuffled, batch)
  assert metrics["accuracy"] == 0.0 and worse > loss


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mixed_clips_have_no_caption(rng, objective):
  outputs, batch = make(rng, [0, 1])
  mix = Mix(label=np.array([1, 0]), share=np.array([0.5, 0.5]))
  with pytest.raises(ValueError, match="needs whole clips"):
    objective(outputs, dataclasses.replace(batch, mix=mix))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_captions_are_needed_one_a_clip(rng, objective):
  outputs, batch = make(rng, [0, 1])
  several = dict(outputs, text_embedding=np.zeros((2, 3, 5)))
  with pytest.raises(ValueError, match=r"one caption a clip, got \(2, 3, 5\)"):
    objective(several, batch)
  del outputs["text_embedding"]
  with pytest.raises(ValueError, match="needs captions"):
    objective(outputs, batch)


def test_a_config_weighs_and_sums(rng):
  outputs, batch = make(rng, [0, 1, 2])
  both = build_objectives(
    {"contrastive": {"weight": 2.0}, "sigmoid": {"weight": 0.5}}
  )
  loss, metrics = both(outputs, batch)
  parts = [contrastive(outputs, batch)[0], sigmoid(outputs, batch)[0]]
  np.testing.assert_allclose(loss, 2 * parts[0] + 0.5 * parts[1], rtol=1e-6)
  assert metrics["contrastive/loss"] == parts[0]
  assert jnp.isfinite(metrics["sigmoid/accuracy"])


def test_a_config_is_checked():
  with pytest.raises(ValueError, match="known: .*contrastive, .*sigmoid"):
    build_objectives({"contrastiv": {}})
  with pytest.raises(ValueError, match="'contrastive' reads no 'wait'"):
    build_objectives({"contrastive": {"wait": 1.0}})
  with pytest.raises(ValueError, match="must name one of"):
    build_objectives({})
