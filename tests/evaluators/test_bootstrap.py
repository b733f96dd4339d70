"""Intervals against SciPy and against loops."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from trajvit.evaluators import bootstrap
from trajvit.evaluators.bootstrap import (
  estimate,
  means,
  resample_weights,
  weighted_median,
)
from trajvit.evaluators.classification import Classification, class_ranks
from trajvit.evaluators.features import Features
from trajvit.evaluators.retrieval import Retrieval


def test_without_clusters_it_is_scipys(rng, monkeypatch):
  scores = rng.normal(size=37)
  expected = stats.bootstrap(
    (scores,),
    np.mean,
    n_resamples=500,
    method="percentile",
    rng=np.random.default_rng(3),
  ).confidence_interval
  for cells in (2**22, 40 * 37):  # all at once, and in parts
    monkeypatch.setattr(bootstrap, "_CELLS", cells)
    got = estimate(means({"x": scores}), np.arange(37), 500, seed=3)
    assert got["x"] == pytest.approx(scores.mean(), abs=1e-12)
    assert got["x_low"] == pytest.approx(expected.low, abs=1e-12)
    assert got["x_high"] == pytest.approx(expected.high, abs=1e-12)


def test_rows_of_a_cluster_are_drawn_together(rng):
  clusters = rng.permutation(np.repeat([7, 3, 11, 5, 20], [1, 4, 2, 3, 2]))
  values = rng.normal(size=len(clusters))
  weights = np.concatenate(list(resample_weights(clusters, 60, seed=1)))
  names = np.unique(clusters)
  draws = np.random.default_rng(1).integers(0, 5, (60, 5))
  for row, drawn in zip(weights, draws, strict=True):
    rows = np.concatenate([np.flatnonzero(clusters == names[d]) for d in drawn])
    assert row.tolist() == np.bincount(rows, minlength=12).tolist()
    found = means({"x": values})(row[None])["x"][0]
    assert found == pytest.approx(values[rows].mean(), abs=1e-12)
    assert weighted_median(values, row[None])[0] == np.median(values[rows])


def test_captions_of_a_clip_do_not_narrow_the_interval(rng):
  scores = rng.integers(0, 2, 50).astype(float)
  once = estimate(means({"x": scores}), np.arange(50), 300)
  copies = np.repeat(np.arange(50), 5)
  assert estimate(means({"x": scores[copies]}), copies, 300) == pytest.approx(
    once, abs=1e-12
  )


def test_the_interval_holds_what_it_promises():
  """In about 95 of 100 data sets it contains the truth, here 0.3."""
  inside = 0
  for seed in range(100):
    hits = np.random.default_rng(seed).random(80) < 0.3
    got = estimate(means({"x": hits}), np.arange(80), 150, seed=seed)
    inside += got["x_low"] <= 0.3 <= got["x_high"]
  assert 88 <= inside <= 99


def test_no_resamples_no_interval():
  assert estimate(means({"x": np.ones(3)}), np.arange(3), 0) == {"x": 1.0}
  with pytest.raises(ValueError, match="0 or more resamples, got -1"):
    bootstrap.check_resamples(-1)


def loop(clusters, metric, count, seed=0):
  """Low and high of a metric of rows, from resampled lists of them."""
  names = np.unique(clusters)
  draws = np.random.default_rng(seed).integers(
    0, len(names), (count, len(names))
  )
  found = [
    metric(np.concatenate([np.flatnonzero(clusters == names[d]) for d in row]))
    for row in draws
  ]
  return np.percentile(found, (2.5, 97.5))


def features(rng, n=30, classes=4):
  """Clips of which some are twins, labels and logits."""
  return Features(
    outputs={"logits": rng.normal(size=(n, classes)).astype(np.float32)},
    clip_id=rng.integers(0, n // 2, n).astype(np.int32),
    label=rng.integers(0, classes, n).astype(np.int32),
    place=np.arange(n),
    names=tuple(map(str, range(n))),
    caption_clip=np.zeros(0, np.int64),
  )


def test_classes_that_are_not_drawn_do_not_occur(rng):
  found = features(rng)
  got = Classification(None, top=(2,), bootstrap=200).score(found)
  ranks = class_ranks(found.outputs["logits"], found.label)

  def by_class(rows):
    return np.mean(
      [
        100 * np.mean(ranks[rows][found.label[rows] == c] == 1)
        for c in np.unique(found.label[rows])
      ]
    )

  for name, metric in (
    ("top2", lambda rows: 100 * np.mean(ranks[rows] <= 2)),
    ("mean_class_accuracy", by_class),
  ):
    low, high = loop(found.clip_id, metric, 200)
    assert got[f"{name}_low"] == pytest.approx(low, abs=1e-9)
    assert got[f"{name}_high"] == pytest.approx(high, abs=1e-9)
    assert got[name] == pytest.approx(metric(np.arange(30)), abs=1e-9)
  without = Classification(None, top=(2,)).score(found)
  assert without == {k: v for k, v in got.items() if k in without}
  assert not any(name.endswith("_low") for name in without)


def test_queries_of_a_clip_are_drawn_together(rng):
  n, m = 20, 45
  vectors = rng.normal(size=(n + m, 5)).astype(np.float32)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  found = dataclasses.replace(
    features(rng, n),
    outputs={"video": vectors[:n], "text": vectors[n:]},
    caption_clip=np.sort(rng.integers(0, n, m)),
  )
  got = Retrieval(None, bootstrap=100).score(found)
  ids, items = found.clip_id[found.caption_clip], found.clip_id
  scores = vectors[n:].astype("d") @ vectors[:n].astype("d").T
  right = ids[:, None] == items
  best = np.where(right, scores, -np.inf).max(1, keepdims=True)
  ranks = 1 + (~right & (scores >= best)).sum(1)
  for name, metric in (
    ("t2v_R@5", lambda rows: 100 * np.mean(ranks[rows] <= 5)),
    ("t2v_median_rank", lambda rows: np.median(ranks[rows])),
    ("t2v_mean_rank", lambda rows: np.mean(ranks[rows])),
  ):
    low, high = loop(ids, metric, 100)
    assert got[f"{name}_low"] == pytest.approx(low, abs=1e-9)
    assert got[f"{name}_high"] == pytest.approx(high, abs=1e-9)
