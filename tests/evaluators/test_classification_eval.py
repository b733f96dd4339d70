"""Accuracy over labelled clips, against counting by hand."""

import numpy as np
import pytest
from fake_loader import FakeLoader, LabelledLoader

from trajvit.evaluators import EVALUATORS

CLASSES = 6


def predict(variables, batch):
  logits = batch.clip.frames.reshape(batch.clip.frames.shape[0], -1)
  return {"logits": logits * variables}


def evaluate(logits, labels, **options):
  loader = LabelledLoader(logits, labels)
  spec = dict(name="classification", **options)
  metrics = EVALUATORS.build(spec, loader=loader).run(predict, 1.0)
  assert not loader.open
  return metrics


def test_it_equals_counting(rng):
  logits = list(rng.normal(size=(20, CLASSES)))
  labels = rng.integers(-1, CLASSES, 20)
  logits[3] = None
  metrics = evaluate(logits, labels)
  kept = [i for i in range(20) if i != 3 and labels[i] >= 0]
  ranks = [1 + sum(x > logits[i][labels[i]] for x in logits[i]) for i in kept]
  for k in (1, 5):
    assert metrics[f"top{k}"] == pytest.approx(
      100 * np.mean(np.array(ranks) <= k)
    )
  by_class = {}
  for i, rank in zip(kept, ranks, strict=True):
    by_class.setdefault(labels[i], []).append(rank == 1)
  means = [np.mean(hits) for hits in by_class.values()]
  assert metrics["mean_class_accuracy"] == pytest.approx(100 * np.mean(means))
  assert metrics["n_classes"] == len(by_class)
  assert metrics["n_evaluated"] == len(kept)
  assert metrics["n_unlabelled"] == 19 - len(kept)
  assert metrics["n_missing"] == 1


def test_a_tie_counts_against_us():
  metrics = evaluate([np.ones(CLASSES)], [0], top=(1, 5, 6))
  assert (metrics["top1"], metrics["top5"], metrics["top6"]) == (0, 0, 100)


def test_what_cannot_be_measured_is_refused():
  one = [np.arange(float(CLASSES))]
  with pytest.raises(ValueError, match="a clip with a label, got none"):
    evaluate(one, [-1])
  with pytest.raises(ValueError, match="knows 6 classes, got label 6"):
    evaluate(one, [6])
  with pytest.raises(ValueError, match="at least 1, got"):
    evaluate(one, [0], top=(0,))
  with pytest.raises(FloatingPointError, match="not finite"):
    evaluate([np.full(CLASSES, np.nan)], [0])
  loader = FakeLoader([one[0].reshape(1, 1, -1, 1)])
  with pytest.raises(ValueError, match="needs batch.label, got None"):
    EVALUATORS.build(dict(name="classification"), loader=loader).run(
      predict, 1.0
    )
