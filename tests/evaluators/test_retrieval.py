"""Retrieval against a loop over clips and captions."""

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.retrieval import Retrieval


def predict(variables, batch):
  """Looks clips up by their first pixel and captions by their first word."""
  video = variables["video"][batch.clip.frames[:, 0, 0, 0, 0]]
  text = variables["text"][batch.text.ids[..., 0]]
  return {"video_embedding": video, "text_embedding": text}


def clip(number):
  return np.full((1, 1, 1, 3), number, np.uint8)


def unit(x):
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype("f")


def data(seed, *, num_clips=14, most=3, missing=(), num_ids=None):
  """Loader and variables; captions are words of their own, some clips twins."""
  rng = np.random.default_rng(seed)
  counts = rng.integers(0, most + 1, num_clips)
  counts[0] = most
  words = iter(range(counts.sum()))
  captions = [[next(words) for _ in range(count)] for count in counts]
  ids = rng.integers(0, num_ids or num_clips, num_clips)
  variables = dict(
    video=unit(rng.normal(size=(num_clips, 4))),
    text=unit(rng.normal(size=(counts.sum(), 4))),
  )
  clips = [None if i in missing else clip(i) for i in range(num_clips)]
  return FakeLoader(clips, captions, ids), variables


def slow(loader, variables):
  """t2v and v2t ranks, from the definition."""
  there = [i for i, clip in enumerate(loader.clips) if clip is not None]
  pairs = [(word, i) for i in there for word in loader.captions[i]]
  score = variables["video"].astype("d") @ variables["text"].astype("d").T
  ids = loader.clip_ids
  t2v, v2t = [], []
  for word, owner in pairs:
    best = max(score[i, word] for i in there if ids[i] == ids[owner])
    rivals = [score[i, word] for i in there if ids[i] != ids[owner]]
    t2v.append(1 + sum(rival >= best for rival in rivals))
  for i in there:
    right = [score[i, word] for word, j in pairs if ids[j] == ids[i]]
    rivals = [score[i, word] for word, j in pairs if ids[j] != ids[i]]
    if right:
      v2t.append(1 + sum(rival >= max(right) for rival in rivals))
  return {"t2v": np.array(t2v), "v2t": np.array(v2t)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [(), (1, 13)])
def test_equals_the_loop(seed, missing):
  loader, variables = data(seed, missing=missing, num_ids=9)
  got = Retrieval(loader).run(predict, variables)
  for way, found in slow(loader, variables).items():
    for k in (1, 5, 10):
      assert got[f"{way}_R@{k}"] == pytest.approx(100 * np.mean(found <= k))
    assert got[f"{way}_median_rank"] == np.median(found)
    assert got[f"{way}_mean_rank"] == pytest.approx(np.mean(found))
  assert got["n_evaluated"] == 14 - len(missing)
  assert got["n_missing"] == len(missing)
  there = [
    c for i, c in enumerate(loader.captions) if loader.clips[i] is not None
  ]
  assert got["n_captions"] == sum(map(len, there))
  assert got["n_uncaptioned"] == 14 - len(missing) - len(
    slow(loader, variables)["v2t"]
  )
  assert all(type(value) is float for value in got.values())
  assert loader.open == 0


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_changes_nothing(batch_size):
  loader, variables = data(0, missing=(4,))
  expected = Retrieval(loader, groups=0).run(predict, variables)
  loader.batch_size = batch_size
  assert Retrieval(loader).run(predict, variables) == expected


def paired(count, batch_size=5, missing=()):
  """One caption a clip, numbered like it, and embeddings that agree."""
  clips = [None if i in missing else clip(i) for i in range(count)]
  loader = FakeLoader(clips, [[i] for i in range(count)], batch_size=batch_size)
  table = unit(np.random.default_rng(0).normal(size=(count, 8)))
  return loader, dict(video=table, text=table)


def test_a_perfect_model():
  loader, variables = paired(11)
  got = Retrieval(loader, groups=2).run(predict, variables)
  for way in ("t2v", "v2t"):
    assert got[f"{way}_R@1"] == 100.0
    assert got[f"{way}_mean_rank"] == got[f"{way}_median_rank"] == 1.0
  assert got["choice_accuracy"] == 100.0
  assert got["n_choices"] == 10.0


def test_a_constant_model_comes_last():
  loader, variables = paired(24)
  constant = {k: np.ones_like(v) / np.sqrt(8) for k, v in variables.items()}
  got = Retrieval(loader, groups=8).run(predict, constant)
  for way in ("t2v", "v2t"):
    assert got[f"{way}_R@10"] == 0.0
    assert got[f"{way}_median_rank"] == 24.0
  assert got["choice_accuracy"] == 0.0


def test_choice_stays_inside_the_group():
  """Clips 0 to 3 and 4 to 7 look alike, one and all."""
  loader, variables = paired(8, missing=())
  for table in variables.values():
    table[4:] = table[:4]
  got = Retrieval(loader, groups=4).run(predict, variables)
  assert got["choice_accuracy"] == 100.0
  assert got["t2v_R@1"] == 0.0
  swapped = dict(variables, text=variables["text"][[1, 0, 2, 3, 4, 5, 6, 7]])
  got = Retrieval(loader, groups=4).run(predict, swapped)
  assert got["choice_accuracy"] == 75.0


def test_chance_is_one_in_the_group():
  loader, variables = paired(250)
  rng = np.random.default_rng(1)
  variables["text"] = unit(rng.normal(size=(250, 8)))
  runs = [
    Retrieval(loader, groups=5).run(
      predict, dict(variables, text=variables["text"][rng.permutation(250)])
    )["choice_accuracy"]
    for _ in range(4)
  ]
  assert np.mean(runs) == pytest.approx(20, abs=4)


def test_incomplete_groups_have_no_choice():
  loader, variables = paired(14, missing=(2,))
  loader.captions[9] = []
  got = Retrieval(loader, groups=4).run(predict, variables)
  assert got["n_choices"] == 4.0  # [0, 3] misses one, [8, 11] a caption
  loader, variables = paired(3)
  with pytest.raises(ValueError, match="not one group of 4"):
    Retrieval(loader, groups=4).run(predict, variables)


def test_missing_clips_take_no_part():
  """Whatever their rows would give."""
  loader, variables = paired(9, missing=(0, 7))
  got = Retrieval(loader).run(predict, variables)

  def poisoned(variables, batch):
    outputs = predict(variables, batch)
    keep = batch.valid[:, None]
    return {
      "video_embedding": jnp.where(keep, outputs["video_embedding"], jnp.nan),
      "text_embedding": jnp.where(
        keep[..., None], outputs["text_embedding"], jnp.nan
      ),
    }

  assert Retrieval(loader).run(poisoned, variables) == got
  assert (got["n_evaluated"], got["n_missing"]) == (7.0, 2.0)


def test_nan_is_an_error_that_names_the_clip():
  for tower in ("video", "text"):
    loader, variables = paired(9)
    variables[tower][6, 2] = np.nan
    with pytest.raises(FloatingPointError, match="1 of 9 .* clip6"):
      Retrieval(loader).run(predict, variables)
    assert loader.open == 0


def test_predict_is_compiled_once():
  loader, variables = paired(9)
  traced = []

  def counted(variables, batch):
    traced.append(1)
    return predict(variables, batch)

  for _ in range(2):
    Retrieval(loader).run(counted, variables)
  assert len(traced) == 1


def test_cut_captions_are_reported():
  loader, variables = paired(9)
  loader.captions_cut = 3
  assert Retrieval(loader).run(predict, variables)["n_captions_cut"] == 3.0


def test_says_what_is_missing():
  loader, variables = paired(4)
  loader.captions = [[], [], [], []]
  with pytest.raises(ValueError, match="needs a caption"):
    Retrieval(loader).run(predict, variables)
  loader.captions = None
  with pytest.raises(ValueError, match="need batches with text"):
    Retrieval(loader).run(predict, variables)
  loader, variables = paired(4)

  def flat(variables, batch):
    outputs = predict(variables, batch)
    return dict(outputs, text_embedding=outputs["text_embedding"][:, 0])

  with pytest.raises(ValueError, match=r"embeddings .*'E'.*, got"):
    Retrieval(loader).run(flat, variables)
  with pytest.raises(ValueError, match="groups must be"):
    Retrieval(loader, groups=1)


def test_is_built_from_the_table():
  loader, _ = paired(4)
  built = EVALUATORS.build(dict(name="retrieval", groups=8), loader=loader)
  assert (built.loader, built.groups) == (loader, 8)


def test_tokens_that_packing_lost_are_summed():
  loader, variables = data(0)
  assert Retrieval(loader).run(predict, variables)["n_overflow_tokens"] == 0

  def packed(variables, batch):
    lost = {"packing/overflow_tokens": 3}
    return predict(variables, batch) | {"metrics": lost}

  found = Retrieval(loader).run(packed, variables)
  assert found["n_overflow_tokens"] == 3 * len(list(loader.evaluate()))
