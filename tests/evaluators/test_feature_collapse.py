"""What tells collapsed embeddings from those that are spread."""

import numpy as np
import pytest

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.collapse import effective_rank
from trajvit.evaluators.features import Features


def score(video, text=None, owners=()):
  outputs = {"video": video} if text is None else {"video": video, "text": text}
  found = Features(
    outputs={k: np.asarray(x, np.float32) for k, x in outputs.items()},
    clip_id=np.arange(len(video)),
    label=None,
    place=np.arange(len(video)),
    names=tuple(map(str, range(len(video)))),
    caption_clip=np.array(owners, np.int64),
    missing=(("x", "broken"),),
  )
  spec = dict(name="collapse", text=text is not None)
  return EVALUATORS.build(spec, loader=None).score(found)


def test_equals_the_definition(rng, monkeypatch):
  video, text = rng.normal(size=(30, 6)), rng.normal(size=(40, 6))
  owners = rng.integers(0, 30, 40)
  monkeypatch.setattr("trajvit.evaluators.collapse._ROWS", 7)
  got = score(video, text, owners)
  for name, uniformity, x in (
    ("feature", "uniformity", video),
    ("text", "text_uniformity", text),
  ):
    p = np.linalg.svd(x)[1]
    p = p / p.sum()
    rank = np.exp(-(p * np.log(p)).sum())
    assert got[f"{name}_rank"] == pytest.approx(rank, rel=1e-6)
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    std = u.std(0).mean() * np.sqrt(6)
    assert got[f"{name}_std"] == pytest.approx(std, rel=1e-6)
    pairs = [
      np.exp(-2 * ((u[i] - u[j]) ** 2).sum())
      for i in range(len(u))
      for j in range(len(u))
      if i != j
    ]
    assert got[uniformity] == pytest.approx(np.log(np.mean(pairs)), rel=1e-6)
  clips, captions = (
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (video, text)
  )
  alignment = ((captions - clips[owners]) ** 2).sum(1).mean()
  assert got["alignment"] == pytest.approx(alignment, rel=1e-6)
  assert (got["n_evaluated"], got["n_missing"]) == (30, 1)


def test_one_point_and_a_spread(rng):
  point = score(np.tile(rng.normal(size=8), (20, 1)))
  assert point["feature_rank"] == pytest.approx(1, abs=1e-3)
  assert point["feature_std"] == pytest.approx(0, abs=1e-6)
  assert point["uniformity"] == pytest.approx(0, abs=1e-6)
  even = score(rng.normal(size=(3000, 8)))
  assert even["feature_rank"] > 7.9
  assert even["feature_std"] == pytest.approx(1, abs=0.02)
  line = score(rng.normal(size=(500, 2)) @ rng.normal(size=(2, 8)))
  assert 1 < line["feature_rank"] <= 2 + 1e-3


def test_edges():
  assert effective_rank(np.zeros((3, 4))) == 0
  assert effective_rank(np.eye(4)) == pytest.approx(4)
  with pytest.raises(ValueError, match="at least 2 clips, got 1"):
    score(np.ones((1, 3)))
