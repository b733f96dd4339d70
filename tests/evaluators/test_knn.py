"""Nearest neighbours against scikit-learn and a loop."""

import dataclasses

import numpy as np
import pytest
from fake_loader import LabelledLoader
from sklearn.neighbors import KNeighborsClassifier

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.evaluators.knn import neighbour_hits

WIDTH = 6


def predict(variables, batch):
  x = batch.clip.frames.reshape(len(batch.clip.frames), -1)
  return {"video_embedding": x * variables}


class Source(LabelledLoader):
  """A loader with a fingerprint."""

  def fingerprint(self):
    return str(len(self.clips))


def features(rng, n, classes=3):
  labels = rng.integers(0, classes, n)
  return Features(
    outputs={
      "video": rng.normal(size=(n, WIDTH)) + np.eye(classes, WIDTH)[labels]
    },
    clip_id=np.arange(n, dtype=np.int32),
    label=labels.astype(np.int32),
    place=np.arange(n),
    names=tuple(map(str, range(n))),
    caption_clip=np.zeros(0, np.int64),
  )


def build(loader=None, train=None, **options):
  return EVALUATORS.build(
    dict(name="knn", train=None if train is None else {}, **options),
    loader=loader,
    build_loader=lambda spec: train,
  )


def test_equals_scikit_learn(rng):
  train, test = features(rng, 60, 2), features(rng, 40, 2)
  k = (1, 3, 15)  # odd, of two classes: no vote is a tie
  evaluator = build(Source([None] * 3, []), Source([], []), k=k)
  got = evaluator.score(test, train)
  for count in k:
    for kind, weights in (
      ("weighted", lambda distance: np.exp((1 - distance) / 0.07)),
      ("majority", "uniform"),
    ):
      model = KNeighborsClassifier(
        count, weights=weights, metric="cosine", algorithm="brute"
      ).fit(train.outputs["video"], train.label)
      expected = model.score(test.outputs["video"], test.label)
      assert got[f"{kind}@{count}"] == pytest.approx(100 * expected, abs=1e-6)
  assert got["n_train"] == 60 and got["n_evaluated"] == 40
  assert 60 < got["weighted@15"] < 100


def test_ties_and_chunks(rng, monkeypatch):
  """Few values, so that votes and neighbours tie; classes nobody has learnt."""
  vectors = rng.integers(-1, 2, (30, 2)) + [0.0, 3.0]
  labels = rng.integers(0, 4, 30)
  test, truth = (
    rng.integers(-1, 2, (25, 2)) + [0.0, 3.0],
    rng.integers(0, 6, 25),
  )
  options = dict(k=(1, 4, 7), temperature=0.5)
  args = vectors, labels, truth, test
  got = neighbour_hits(*args, **options)

  def norm(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

  cosine = norm(test) @ norm(vectors).T
  for row in range(25):
    near = sorted(range(30), key=lambda i: (-cosine[row, i], i))
    for column, count in enumerate((1, 4, 7)):
      votes = np.bincount(labels[near[:count]], minlength=6)
      others = np.delete(votes, truth[row])
      expected = votes[truth[row]] > others.max()
      assert got[row, 2 * column + 1] == expected
  monkeypatch.setattr("trajvit.evaluators.knn._CELLS", 100)
  np.testing.assert_array_equal(neighbour_hits(*args, **options), got)


def test_folds_and_a_source_give_each_clip_one_answer(rng):
  both = features(rng, 24)
  vectors = list(both.outputs["video"])
  loader = Source([*vectors[:-1], None], both.label)
  got = build(loader, k=(1, 5), folds=3, bootstrap=50).run(predict, 1.0)
  assert (got["n_evaluated"], got["n_missing"]) == (23, 1)
  found = embed(loader, predict, 1.0, ["video"])
  fold = np.arange(23) % 3
  hits = sum(
    neighbour_hits(
      found.outputs["video"][fold != j],
      found.label[fold != j],
      found.label[fold == j],
      found.outputs["video"][fold == j],
      k=(5,),
      temperature=0.07,
    ).sum(0)
    for j in range(3)
  )
  assert got["weighted@5"] == pytest.approx(100 * hits[0] / 23)
  assert got["majority@5_low"] <= got["majority@5"] <= got["majority@5_high"]
  other = Source(vectors[:9], both.label[:9])
  got = build(loader, other, k=(1,)).run(predict, 1.0)
  # Those to train on are among the tested, each its own nearest.
  assert got["weighted@1"] > 100 * 9 / 23 and got["n_train"] == 9


def test_what_cannot_be_is_named(rng):
  one = features(rng, 6)
  loader = Source(list(one.outputs["video"]), one.label)
  for options, message in (
    (dict(k=()), "k must have numbers"),
    (dict(temperature=0), "temperature must be above 0"),
    (dict(folds=1), "folds must be at least 2, got 1"),
    (dict(train=loader), "train names the clips that are tested"),
  ):
    with pytest.raises(ValueError, match=message):
      build(loader, **options)
  with pytest.raises(ValueError, match="k is 20, and there are 4 neighbours"):
    build(loader).score(one)
  with pytest.raises(ValueError, match="exactly if it has one"):
    build(loader, k=(1,)).score(one, one)
  unknown = dataclasses.replace(one, label=-np.ones(6, np.int32))
  with pytest.raises(ValueError, match="as many clips with a label, got 0"):
    build(loader, k=(1,)).score(unknown)
