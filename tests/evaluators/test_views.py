"""Several views of a clip count as one clip."""

import numpy as np
import pytest

from trajvit.evaluators.features import Features
from trajvit.evaluators.views import averaged


def features(places, **options):
  rng = np.random.default_rng(0)
  n = len(places)
  vectors = rng.normal(size=(n, 3)).astype(np.float32)
  return Features(
    outputs={
      "video": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
      "logits": rng.normal(size=(n, 4)).astype(np.float32),
      "text": np.arange(2 * n, dtype=np.float32)[:, None],
    },
    clip_id=np.array(places) // 2 + 100,
    label=np.array(places) // 2,
    place=np.array(places),
    names=tuple(f"clip{p // 2}" for p in places),
    caption_clip=np.repeat(np.arange(n), 2),
    **options,
  )


def test_a_clip_is_the_mean_of_its_views():
  views = features([0, 1, 4, 5])
  found = averaged(views, 2)
  mean = views.outputs["video"].reshape(2, 2, 3).mean(1)
  np.testing.assert_allclose(
    found.outputs["video"],
    mean / np.linalg.norm(mean, axis=1, keepdims=True),
    rtol=1e-6,
  )
  odds = np.exp(views.outputs["logits"].astype(np.float64))
  share = (odds / odds.sum(1, keepdims=True)).reshape(2, 2, 4).mean(1)
  np.testing.assert_allclose(np.exp(found.outputs["logits"]), share, rtol=1e-5)
  assert found.place.tolist() == [0, 2] and found.label.tolist() == [0, 2]
  assert found.names == ("clip0", "clip2")
  # Captions are not doubled.
  assert found.outputs["text"][:, 0].tolist() == [0, 1, 4, 5]
  assert found.caption_clip.tolist() == [0, 0, 1, 1]


def test_a_clip_without_all_its_views_takes_no_part():
  lost = (("clip1", "broken"), ("clip1", "broken"))
  found = averaged(features([0, 1, 2, 4, 5], missing=lost), 2)
  assert found.names == ("clip0", "clip2")
  assert found.missing == (("clip1", "broken"),)
  assert found.caption_clip.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("places", [[], [1]])
def test_no_clip_at_all(places):
  found = averaged(features(places), 2)
  assert len(found) == 0 and found.outputs["video"].shape == (0, 3)
