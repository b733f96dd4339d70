"""Metrics against independent implementations, on random data, to 1e-6.

scikit-learn where it has the metric, else NumPy from the definition. Average
precision is in test_multilabel.py, neighbours in test_knn.py, dual softmax in
test_dual_softmax.py, intervals in test_bootstrap.py, devices in
test_masked_tails.py.
"""

import numpy as np
import pytest
from sklearn import linear_model, metrics, preprocessing

from trajvit.evaluators.classification import Classification
from trajvit.evaluators.features import Features
from trajvit.evaluators.linear_probe import LinearProbe
from trajvit.evaluators.retrieval import Retrieval

CLASSES = 7


def close(x):
  return pytest.approx(x, abs=1e-6)


def unit(x):
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def features(rng, outputs, n, m=0, **options):
  """n clips and m captions; two clips are missing."""
  values = dict(
    outputs=outputs,
    clip_id=np.arange(n, dtype=np.int32),
    label=None,
    place=np.delete(np.arange(n + 2), [1, 4]),
    names=tuple(map(str, range(n))),
    caption_clip=np.sort(rng.integers(0, n, m)),
    missing=(("x", "broken"), ("y", "broken")),
  )
  return Features(**(values | options))


@pytest.mark.parametrize("seed", range(5))
def test_top_k_and_balanced_accuracy(seed):
  rng = np.random.default_rng(seed)
  labels = rng.integers(-1, CLASSES, 60)
  logits = rng.normal(size=(60, CLASSES)).astype(np.float32)
  found = features(rng, {"logits": logits}, 60, label=labels.astype(np.int32))
  got = Classification(None, top=(1, 3, 5)).score(found)
  known = labels >= 0
  for k in (1, 3, 5):
    expected = metrics.top_k_accuracy_score(
      labels[known], logits[known], k=k, labels=np.arange(CLASSES)
    )
    assert got[f"top{k}"] == close(100 * expected)
  expected = metrics.balanced_accuracy_score(
    labels[known], logits[known].argmax(1)
  )
  assert got["mean_class_accuracy"] == close(100 * expected)
  assert (got["n_evaluated"], got["n_missing"]) == (known.sum(), 2)


@pytest.mark.parametrize("seed", range(5))
def test_ties_of_logits_count_against_us(seed):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, CLASSES, 50).astype(np.int32)
  logits = rng.integers(0, 3, (50, CLASSES)).astype(np.float32)
  got = Classification(None, top=(1, 2)).score(
    features(rng, {"logits": logits}, 50, label=labels)
  )
  # The true class last among its equals: the lowest of them by a hair.
  lowered = logits.astype("d") + 0.25
  lowered[np.arange(50), labels] -= 0.25
  for k in (1, 2):
    expected = metrics.top_k_accuracy_score(
      labels, lowered, k=k, labels=np.arange(CLASSES)
    )
    assert got[f"top{k}"] == close(100 * expected)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_regression(seed):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 4, 48)
  x = (rng.normal(size=(48, 6)) + np.eye(4, 6)[labels]).astype(np.float32)
  found = features(rng, {"video": x}, 48, label=labels.astype(np.int32))
  got = LinearProbe(None, folds=3, penalty=0.05).score(found)
  fold, hits = np.arange(48) % 3, 0
  for k in range(3):
    train, test = fold != k, fold == k
    scale = preprocessing.StandardScaler().fit(x[train].astype("d"))
    design = [
      np.hstack(
        [scale.transform(x[rows].astype("d")), np.ones((rows.sum(), 1))]
      )
      for rows in (train, test)
    ]
    model = linear_model.Ridge(alpha=0.05 * train.sum(), fit_intercept=False)
    model.fit(design[0], np.eye(4)[labels[train]])
    hits += (model.predict(design[1]).argmax(1) == labels[test]).sum()
  assert got["accuracy"] == close(100 * hits / 48)


@pytest.mark.parametrize("grid", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_retrieval_by_sorting(seed, grid):
  """Many captions a clip, twins, and on a grid many ties."""
  rng = np.random.default_rng(seed)
  n, m = 24, 60
  video, text = rng.normal(size=(n, 4)), rng.normal(size=(m, 4))
  if grid:  # inner products of such vectors are exact, and often equal
    video, text = (
      rng.integers(-grid, grid + 1, x.shape) for x in (video, text)
    )
    video, text = video.astype(np.float32), text.astype(np.float32)
  else:
    video, text = unit(video), unit(text)
  ids = rng.integers(0, 18, n).astype(np.int32)
  found = features(rng, {"video": video, "text": text}, n, m, clip_id=ids)
  owners = ids[found.caption_clip]
  got = Retrieval(None).score(found)
  similarity = text.astype("d") @ video.astype("d").T

  def ranks(scores, query_ids, item_ids):
    """The place of the best right item, wrong ones of its score before it."""
    places = []
    for row, query in zip(scores, query_ids, strict=True):
      right = item_ids == query
      if right.any():
        rivals = np.sort(-row[~right])
        places.append(1 + np.searchsorted(rivals, -row[right].max(), "right"))
    return np.array(places)

  for way, places in (
    ("t2v", ranks(similarity, owners, ids)),
    ("v2t", ranks(similarity.T, ids, owners)),
  ):
    for k in (1, 5, 10):
      assert got[f"{way}_R@{k}"] == close(100 * np.mean(places <= k))
    assert got[f"{way}_median_rank"] == close(np.median(places))
    assert got[f"{way}_mean_rank"] == close(np.mean(places))
  assert (got["n_evaluated"], got["n_missing"]) == (n, 2)


def test_recall_is_torchmetrics_hit_rate(rng):
  torch = pytest.importorskip("torch")
  retrieval = pytest.importorskip("torchmetrics.retrieval")
  n, m = 24, 60
  video, text = unit(rng.normal(size=(n, 4))), unit(rng.normal(size=(m, 4)))
  found = features(rng, {"video": video, "text": text}, n, m)
  got = Retrieval(None).score(found)
  scores = torch.tensor(text @ video.T).flatten()
  target = torch.tensor(found.caption_clip[:, None] == np.arange(n)).flatten()
  query = torch.arange(m).repeat_interleave(n)
  for k in (1, 5, 10):
    rate = retrieval.RetrievalHitRate(top_k=k)(scores, target, indexes=query)
    assert got[f"t2v_R@{k}"] / 100 == close(float(rate))  # float32
