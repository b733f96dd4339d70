"""Features: every clip and caption once, whatever the batches."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader, LabelledLoader

from trajvit.evaluators.embed import embed


def predict(variables, batch):
  """Embeds a clip by its first pixel, times the budget."""
  pixel = batch.clip.frames[:, 0, 0, 0, :1].astype(jnp.float32)
  scale = 1 if batch.budget is None else batch.budget[:, None]
  outputs = {
    "video_embedding": variables["scale"] * pixel * scale,
    "logits": jnp.concatenate([pixel, -pixel], axis=1),
    "metrics": {"packing/overflow_tokens": jnp.int32(2)},
  }
  if batch.text is not None:
    outputs["text_embedding"] = batch.text.ids[..., :1].astype(jnp.float32)
  return outputs


def clips(values):
  return [
    None if v is None else np.full((1, 1, 1, 3), v, np.uint8) for v in values
  ]


SCALE = {"scale": np.float32(1)}


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_rows_are_the_clips_that_can_be_read(batch_size):
  values = [5, None, 7, 8, None, 3, 2]
  captions = [[1], [2, 3], [], [4, 5], [6], [7], [8, 9]]
  ids = [10, 11, 12, 10, 14, 15, 16]
  loader = FakeLoader(clips(values), captions, ids, batch_size=batch_size)
  found = embed(loader, predict, SCALE, ["video", "text", "video@3", "logits"])
  there = [i for i, v in enumerate(values) if v is not None]
  expected = np.array([values[i] for i in there], np.float32)[:, None]
  np.testing.assert_array_equal(found.outputs["video"], expected)
  np.testing.assert_array_equal(found.outputs["video@3"], 3 * expected)
  np.testing.assert_array_equal(found.outputs["logits"][:, 1:], -expected)
  assert found.place.tolist() == there
  assert found.clip_id.tolist() == [ids[i] for i in there]
  assert found.names == tuple(f"clip{i}" for i in there)
  owners = [(c, k) for k, i in enumerate(there) for c in captions[i]]
  assert found.outputs["text"][:, 0].tolist() == [c for c, _ in owners]
  assert found.caption_clip.tolist() == [k for _, k in owners]
  assert [name for name, _ in found.missing] == ["clip1", "clip4"]
  batches = -(-len(values) // batch_size)
  assert found.overflow_tokens == 2 * 2 * batches  # of two forwards
  assert found.label is None and loader.open == 0


def test_labels_come_along():
  vectors = [np.full(3, i, np.uint8) for i in range(4)]
  found = embed(
    LabelledLoader([*vectors[:3], None], [3, -1, 0, 2]),
    lambda variables, batch: {"video_embedding": batch.clip.frames[:, 0, 0]},
    {},
    ["video"],
  )
  assert found.label.tolist() == [3, -1, 0]
  assert found.caption_clip.size == 0


def test_what_is_not_finite_is_named():
  loader = FakeLoader(clips([1, 2, 3]), [[1], [2], [3]])
  found = embed(loader, predict, SCALE, ["video", "text"])
  found.outputs["text"][1] = np.nan
  found.outputs["video"][2] = np.inf
  with pytest.raises(FloatingPointError, match="text of 1 of 3 .* clip1"):
    found.finite("text")
  with pytest.raises(FloatingPointError, match="video of 1 of 2 .* clip2"):
    found.finite("video", np.array([False, True, True]))
  assert found.finite("video", np.array([True, True, False])).shape == (2, 1)
  with pytest.raises(ValueError, match="have no 'logits', but text, video"):
    found.finite("logits")


def test_what_cannot_be_asked_for():
  loader = FakeLoader(clips([1, 2]))
  for name in ("frames", "video@", "video@x", "video@-1"):
    with pytest.raises(ValueError, match="expected one of video, text"):
      embed(loader, predict, SCALE, [name])
  with pytest.raises(ValueError, match="need batches with text"):
    embed(loader, predict, SCALE, ["text"])
  with pytest.raises(ValueError, match="gives no logits; it gives video"):
    embed(
      loader, lambda v, b: {"video_embedding": v["scale"]}, SCALE, ["logits"]
    )
  with pytest.raises(dataclasses.FrozenInstanceError):
    embed(loader, predict, SCALE, ["video"]).names = ()


def test_views_of_a_clip_are_one_row():
  loader = FakeLoader(clips([2, 4, None, None, 5, 7]), [[1]] * 6, [1, 1] * 3)
  loader.views = 2
  found = embed(loader, predict, SCALE, ["video", "text"])
  assert found.place.tolist() == [0, 2]
  np.testing.assert_array_equal(found.outputs["video"], [[1], [1]])
  assert found.outputs["text"].shape == (2, 1)


def test_what_does_not_fit_into_memory_is_refused_at_once():
  loader = FakeLoader(clips([1, 2, 3]))
  loader.num_eval_batches = 10**12
  with pytest.raises(ValueError, match=r"video of all clips take \d+ GB"):
    embed(loader, predict, SCALE, ["video"])
  assert loader.open == 0
