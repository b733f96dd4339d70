"""Cost of a small model whose tokens, FLOPs and parameters are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader

from trajvit.evaluators.cost import Cost, histogram
from trajvit.types import Tokens

SLOTS, PIXELS, WIDTH, DEPTH, EMBED = 6, 3, 5, 7, 4
VARIABLES = {
  "params": dict(
    stem=np.ones((PIXELS, WIDTH), "f"),
    blocks=np.ones((DEPTH, WIDTH, WIDTH), "f"),
    head=np.ones((WIDTH, EMBED), "f"),
    words=np.ones((100, EMBED), "f"),
    temperature=np.ones((), "f"),
  ),
  "batch_stats": dict(mean=np.zeros(WIDTH, "f")),
}


def predict(variables, batch):
  """A pixel is a token, a black one is a masked slot."""
  params = variables["params"]
  pixels = batch.clip.frames.reshape(-1, SLOTS, PIXELS)
  mask = pixels.any(-1)
  features = pixels.astype(jnp.float32) @ params["stem"]
  features -= variables["batch_stats"]["mean"]
  x, _ = jax.lax.scan(
    lambda x, w: (jnp.tanh(x @ w), None), features, params["blocks"]
  )
  outputs = {
    "video_embedding": x.mean(1) @ params["head"],
    "temperature": params["temperature"],
    "tokens": Tokens(features, mask, jnp.zeros(mask.shape + (3,)), mask * 1.0),
  }
  if batch.text is not None:
    bags = jax.nn.one_hot(batch.text.ids, 100).sum(-2)
    outputs["text_embedding"] = bags @ params["words"]
  return outputs


def clip(tokens):
  """A clip of 1 x 2 x 3 pixels, of which so many are not black."""
  frames = np.zeros((SLOTS, 3), np.uint8)
  frames[:tokens] = 9
  return frames.reshape(1, 2, 3, 3)


def loader(counts, **options):
  clips = [None if n is None else clip(n) for n in counts]
  return FakeLoader(clips, [[i] for i in range(len(clips))], **options)


STEM = 2 * SLOTS * PIXELS * WIDTH
BLOCKS = 2 * SLOTS * WIDTH * WIDTH * DEPTH
HEAD = 2 * WIDTH * EMBED


def test_tokens_of_all_clips():
  counts = [1, 6, 2, None, 3, 3, 0, 5]
  got = Cost(loader(counts), timing=False).run(predict, VARIABLES)
  real = [n for n in counts if n is not None]
  assert got["tokens_per_clip_mean"] == pytest.approx(np.mean(real))
  assert got["tokens_per_clip_p50"] == np.percentile(real, 50)
  assert got["tokens_per_clip_p95"] == pytest.approx(np.percentile(real, 95))
  assert got["tokens_per_clip_max"] == 6.0
  assert got["token_budget"] == SLOTS
  assert (got["n_evaluated"], got["n_missing"]) == (7.0, 1.0)
  assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_flops_of_the_video_side(wrap):
  got = Cost(loader([1, 2, 3]), timing=False).run(wrap(predict), VARIABLES)
  assert got["GFLOPs_per_clip"] * 1e9 == pytest.approx(STEM + BLOCKS + HEAD)
  assert got["tokenizer_GFLOPs_per_clip"] * 1e9 == pytest.approx(STEM)
  assert got["unbounded_loops"] == got["unknown_calls"] == 0.0


def test_parameters():
  got = Cost(loader([1, 2, 3]), timing=False).run(predict, VARIABLES)
  video = PIXELS * WIDTH + DEPTH * WIDTH * WIDTH + WIDTH * EMBED
  assert got["video_parameters"] == video
  assert got["parameters"] == video + 100 * EMBED + 1


def test_memory_grows_with_the_batch():
  small, large = (
    Cost(loader([1] * 512, batch_size=size), timing=False).run(
      predict, VARIABLES
    )
    for size in (8, 512)
  )
  assert (small["batch_size"], large["batch_size"]) == (8.0, 512.0)
  at_least = 512 * SLOTS * WIDTH * 4 / 2**20
  assert large["peak_memory_MiB"] > at_least > small["peak_memory_MiB"]
  assert large["GFLOPs_per_clip"] == pytest.approx(small["GFLOPs_per_clip"])


def test_speed():
  clips = loader([1, 2, 3, 4, 5, 6, None], batch_size=2)
  got = Cost(clips, batches=2, repeats=2).run(predict, VARIABLES)
  assert got["clips_per_second_model"] > 0
  assert got["clips_per_second_with_decoding"] > 0
  assert clips.open == 0


def test_all_but_speed_is_reproducible():
  one, other = (
    Cost(loader([1, 2, 3]), timing=False).run(predict, VARIABLES)
    for _ in range(2)
  )
  assert one == other
  assert not [name for name in one if "second" in name]


def test_text_never_runs():
  def blind(variables, batch):
    assert batch.text is None
    return predict(variables, batch)

  Cost(loader([1, 2])).run(blind, VARIABLES)


def test_what_cannot_be_counted_shows():
  def solving(variables, batch):
    outputs = predict(variables, batch)
    x = outputs["video_embedding"]
    x = x @ jnp.linalg.cholesky(jnp.eye(EMBED) + x.T @ x)
    return dict(outputs, video_embedding=x)

  got = Cost(loader([1]), timing=False).run(solving, VARIABLES)
  assert got["unknown_calls"] == 1.0


def test_one_row_is_one_clip():
  def packed(variables, batch):
    outputs = predict(variables, batch)
    tokens = outputs["tokens"]
    segments = jnp.zeros(tokens.mask.shape, int)
    tokens = Tokens(
      tokens.features, tokens.mask, tokens.positions, tokens.size, segments
    )
    return dict(outputs, tokens=tokens)

  with pytest.raises(ValueError, match="packed"):
    Cost(loader([1])).run(packed, VARIABLES)

  def merged(variables, batch):
    outputs = predict(variables, batch)
    first = jax.tree.map(lambda x: x[:1], outputs["tokens"])
    return dict(outputs, tokens=first)

  with pytest.raises(ValueError, match="1 rows for 3 clips"):
    Cost(loader([1])).run(merged, VARIABLES)


def test_says_what_was_expected():
  for name in ("batches", "repeats"):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
      Cost(loader([1]), **{name: 0})
  empty = loader([1])
  empty.batch = lambda rows: _without_clips(rows)
  with pytest.raises(ValueError, match="needs at least one clip"):
    Cost(empty).run(predict, VARIABLES)


def _without_clips(rows):
  return loader([None, None, None, 1]).batch(rows)


def test_details_tell_how_many_clips_have_how_many_tokens():
  evaluator = Cost(loader([2, 4, 2, None, 5]), timing=False)
  evaluator.run(predict, VARIABLES)
  assert evaluator.details["tokens_per_clip"] == dict(
    edges=[1.5, 2.5, 3.5, 4.5, 5.5], clips=[2, 0, 1, 1]
  )


def test_a_histogram_has_every_count_once():
  counts = np.array([3, 3, 500, 1000, 77])
  found = histogram(counts, bins=32)
  assert sum(found["clips"]) == 5 and len(found["clips"]) <= 32
  assert len(found["edges"]) == len(found["clips"]) + 1
  assert len(set(np.diff(found["edges"]))) == 1  # of one width
  assert histogram(np.array([7]))["clips"] == [1]
