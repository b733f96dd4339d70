"""Dual softmax against its definition in float64, ties included."""

import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.evaluators.features import Features
from trajvit.evaluators.ranking import log_sums, ranks
from trajvit.evaluators.retrieval import Retrieval

CLIPS, CAPTIONS = 20, 45


def unit(x):
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def features(rng):
  """Some clips are equal, of other ids; some have several captions."""
  video, text = (
    unit(rng.normal(size=(CLIPS, 5))),
    rng.normal(size=(CAPTIONS, 5)),
  )
  video[12:16] = video[:4]
  owners = np.sort(rng.integers(0, CLIPS, CAPTIONS))
  return Features(
    outputs={"video": video, "text": unit(text + 2 * video[owners])},
    clip_id=np.r_[np.arange(18), [5, 6]].astype(np.int32),
    label=None,
    place=np.arange(CLIPS),
    names=tuple(map(str, range(CLIPS))),
    caption_clip=owners,
  )


def slow(queries, items, query_ids, item_ids, temperature):
  """Ranks by the formula, ties against the query."""
  s = queries.astype("d") @ items.astype("d").T
  odds = np.exp(s / temperature)
  s = s * odds / odds.sum(0)
  right = query_ids[:, None] == item_ids
  best = np.where(right, s, -np.inf).max(1, keepdims=True)
  return 1 + (~right & (s >= best - 1e-9 * np.abs(best))).sum(1)


@pytest.mark.parametrize("temperature", [0.02, 1.0])
def test_equals_the_definition(rng, temperature):
  found = features(rng)
  got = Retrieval(None, dual_softmax=temperature).score(found)
  plain = Retrieval(None).score(found)
  assert plain == {name: got[name] for name in plain}
  video, text = found.outputs["video"], found.outputs["text"]
  ids, owners = found.clip_id, found.clip_id[found.caption_clip]
  asked = np.isin(ids, owners)
  for way, expected in (
    ("t2v", slow(text, video, owners, ids, temperature)),
    ("v2t", slow(video[asked], text, ids[asked], owners, temperature)),
  ):
    for k in (1, 5, 10):
      share = 100 * np.mean(expected <= k)
      assert got[f"dsl_{way}_R@{k}"] == pytest.approx(share, abs=1e-6)
    assert got[f"dsl_{way}_median_rank"] == np.median(expected)
    mean = expected.mean()
    assert got[f"dsl_{way}_mean_rank"] == pytest.approx(mean, abs=1e-6)
  assert got["dsl_t2v_mean_rank"] != got["t2v_mean_rank"]


def test_chunks_change_nothing(rng):
  found = features(rng)
  text, video = found.outputs["text"], found.outputs["video"]
  sums = log_sums(text, video, jnp.float32(0.1), chunk=7)
  s = text.astype("d") @ video.astype("d").T / 0.1
  np.testing.assert_allclose(sums, np.log(np.exp(s).sum(0)), rtol=1e-6)
  args = text, video, found.clip_id[found.caption_clip], found.clip_id
  prior = jnp.float32(0.1), sums
  np.testing.assert_array_equal(
    ranks(*args, prior=prior, tolerance=1e-6, chunk=8),
    slow(*args, temperature=0.1),
  )


def test_an_item_near_to_everything_steps_back():
  """The hub is nearest to all queries; dual softmax gives it to one."""
  queries = unit(np.eye(6) + 1.0)
  items = np.concatenate([unit(np.eye(6)), unit(np.ones((1, 6)))])
  found = Features(
    outputs={"video": items, "text": queries},
    clip_id=np.arange(7, dtype=np.int32),
    label=None,
    place=np.arange(7),
    names=tuple(map(str, range(7))),
    caption_clip=np.arange(6),
  )
  got = Retrieval(None, dual_softmax=0.05).score(found)
  assert (got["t2v_R@1"], got["dsl_t2v_R@1"]) == (0, 100)


def test_the_temperature_is_above_zero():
  with pytest.raises(ValueError, match="temperature above 0, got 0"):
    Retrieval(None, dual_softmax=0)
