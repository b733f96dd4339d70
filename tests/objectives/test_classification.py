"""Cross-entropy over known labels, against a loop from its definition."""

import dataclasses

import jax
import numpy as np
import pytest

from trajvit.objectives import build_objectives, classification
from trajvit.types import Batch, Clip, Mix

CLASSES = 3


def make(rng, label, valid=None):
  logits = rng.normal(size=(len(label), CLASSES)).astype(np.float32)
  clip = Clip(frames=np.zeros((len(label), 1, 2, 2, 3), np.uint8))
  label = np.array(label, np.int32)
  return {"logits": logits}, Batch(clip=clip, label=label, valid=valid)


def slow(logits, label, smoothing):
  losses = []
  for row, true in zip(logits, label, strict=True):
    if true < 0:
      continue
    share = np.exp(row) / np.exp(row).sum()
    target = [
      smoothing / CLASSES + (1 - smoothing) * (c == true) for c in (0, 1, 2)
    ]
    losses.append(
      -sum(t * np.log(s) for t, s in zip(target, share, strict=True))
    )
  return np.mean(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_equals_a_loop(rng, smoothing):
  outputs, batch = make(rng, [2, 0, -1, 1, 2])
  loss, metrics = classification(outputs, batch, label_smoothing=smoothing)
  expected = slow(outputs["logits"], batch.label, smoothing)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  hits = outputs["logits"].argmax(1) == batch.label
  np.testing.assert_allclose(metrics["accuracy"], hits.sum() / 4)
  assert metrics["labelled"] == 4


@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_clips_that_do_not_count_are_never_read(rng, fill):
  valid = np.array([True, True, False, True])
  outputs, batch = make(rng, [1, -1, 0, 2], valid)
  counted = valid & (batch.label >= 0)

  def loss(logits):
    return classification({"logits": logits}, batch)[0]

  logits = outputs["logits"]
  dirty = np.where(counted[:, None], logits, fill)
  value, grad = jax.value_and_grad(loss)(dirty)
  np.testing.assert_array_equal(value, loss(logits))
  assert np.isfinite(grad).all() and not grad[~counted].any()
  assert grad[counted].any(1).all()
  np.testing.assert_allclose(
    value, slow(logits[counted], batch.label[counted], 0), rtol=1e-5
  )


def test_a_batch_of_unknown_classes_costs_nothing(rng):
  outputs, batch = make(rng, [-1, -1])
  loss, metrics = classification(outputs, batch)
  assert loss == 0 and metrics["accuracy"] == 0 and metrics["labelled"] == 0


def test_a_label_beyond_the_classes_is_not_hidden(rng):
  outputs, batch = make(rng, [0, CLASSES])
  assert np.isnan(jax.jit(classification)(outputs, batch)[0])


def test_it_is_named_in_a_config(rng):
  outputs, batch = make(rng, [0, 1])
  objectives = build_objectives({"classification": {"label_smoothing": 0.1}})
  assert "classification/accuracy" in objectives(outputs, batch)[1]


def test_what_is_missing_is_named(rng):
  outputs, batch = make(rng, [0])
  with pytest.raises(ValueError, match="needs batch.label"):
    classification(outputs, Batch(clip=batch.clip))
  with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
    classification(outputs, batch, label_smoothing=1.0)


def mixed(batch, label, share):
  mix = Mix(np.array(label, np.int32), np.array(share, np.float32))
  return dataclasses.replace(batch, mix=mix)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_mixed_clip_has_both_classes(rng, smoothing):
  """The loss is linear in the target, so it is mixed like the clips."""
  outputs, batch = make(rng, [2, 0, 1])
  _, other = make(rng, [0, 0, 2])
  share = 0.25
  options = dict(label_smoothing=smoothing)
  loss, metrics = classification(
    outputs, mixed(batch, other.label, [share] * 3), **options
  )
  one, two = (classification(outputs, x, **options) for x in (batch, other))
  for got, a, b in (
    (loss, one[0], two[0]),
    (metrics["accuracy"], one[1]["accuracy"], two[1]["accuracy"]),
  ):
    np.testing.assert_allclose(got, share * a + (1 - share) * b, rtol=1e-5)


def test_clips_that_were_not_mixed(rng):
  """Share 1 changes nothing, whatever is said of the other clip."""
  outputs, batch = make(rng, [2, 0, -1])
  expected = classification(outputs, batch)
  for label in [0, 1, 2], [-1, -1, -1], [99, 99, 0]:
    got = classification(outputs, mixed(batch, label, [1, 1, 1]))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_a_clip_mixed_with_an_unknown_class_does_not_count(rng):
  outputs, batch = make(rng, [2, 0, 1, -1])
  whole = np.array([True, False, True, False])
  loss, metrics = classification(
    outputs, mixed(batch, [-1, -1, 1, 0], [1, 0.5, 0.5, 0.5])
  )
  assert metrics["labelled"] == whole.sum()
  expected = slow(outputs["logits"][whole], batch.label[whole], 0)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
