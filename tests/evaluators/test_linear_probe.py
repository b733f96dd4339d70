"""A probe at every budget, against folds by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import LabelledLoader

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.ridge import ridge_accuracy

WIDTH = 6


def predict(variables, batch):
  """The first numbers of a clip, as many as the budget."""
  x = batch.clip.frames.reshape(len(batch.clip.frames), -1) * variables
  if batch.budget is not None:
    x = jnp.where(jnp.arange(WIDTH) < batch.budget[:, None], x, 0)
  return {"video_embedding": x}


def evaluate(vectors, labels, **options):
  loader = LabelledLoader(vectors, labels)
  spec = dict(name="linear_probe", **options)
  metrics = EVALUATORS.build(spec, loader=loader).run(predict, 1.0)
  assert not loader.open
  return metrics


def test_folds_by_hand(rng):
  labels = rng.integers(-1, 3, 40)
  vectors = rng.normal(size=(40, WIDTH))
  vectors[:, 3] += labels * 2  # nothing of it is in the first two numbers
  given = [None if i == 7 else x for i, x in enumerate(vectors)]
  metrics = evaluate(given, labels, budgets=(2, WIDTH), folds=3)
  kept = [i for i in range(40) if i != 7 and labels[i] >= 0]
  x, y = vectors[kept].astype(np.float32), labels[kept]
  fold = np.arange(len(y)) % 3
  for name, count in (("accuracy", WIDTH), ("accuracy@2", 2)):
    hits = sum(
      ridge_accuracy(
        x[fold != k, :count], y[fold != k], x[fold == k, :count], y[fold == k]
      )
      * (fold == k).sum()
      for k in range(3)
    )
    assert metrics[name] == pytest.approx(hits / len(y))
  assert metrics[f"accuracy@{WIDTH}"] == metrics["accuracy"]
  assert metrics["accuracy"] > metrics["accuracy@2"] + 20
  assert metrics["chance"] == pytest.approx(100 * np.bincount(y).max() / len(y))
  assert (metrics["n_evaluated"], metrics["n_missing"]) == (len(y), 1)


def test_a_source_to_train_on(rng):
  labels = rng.integers(0, 3, 30)
  vectors = rng.normal(size=(30, WIDTH)) + 2 * np.eye(3, WIDTH)[labels]
  loaders = [
    LabelledLoader([*vectors[rows], None], labels[rows])
    for rows in (slice(20), slice(20, 30))
  ]
  for loader in loaders:
    loader.fingerprint = lambda loader=loader: len(loader.clips)
  train, test = loaders
  metrics = EVALUATORS.build(
    dict(name="linear_probe", train=dict(split="train"), bootstrap=20),
    loader=test,
    build_loader=lambda spec: {"train": train}[spec["split"]],
  ).run(predict, 1.0)
  x = vectors.astype(np.float32)
  expected = ridge_accuracy(x[:20], labels[:20], x[20:], labels[20:])
  assert metrics["accuracy"] == pytest.approx(expected)
  assert metrics["accuracy_low"] <= expected <= metrics["accuracy_high"]
  assert (metrics["n_train"], metrics["n_train_missing"]) == (20, 1)
  assert (metrics["n_evaluated"], metrics["n_missing"]) == (10, 1)


def test_what_cannot_be_is_named(rng):
  vectors = list(rng.normal(size=(5, WIDTH)))
  with pytest.raises(ValueError, match="at least 2, got 1"):
    evaluate(vectors, np.zeros(5), folds=1)
  with pytest.raises(ValueError, match="as many clips with a label, got 0"):
    evaluate(vectors, -np.ones(5))
  vectors[0][0] = np.inf
  with pytest.raises(FloatingPointError):
    evaluate(vectors, np.arange(5) % 2, folds=2)
