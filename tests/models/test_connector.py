"""Tokens for a language model: chunks, slots, and what reaches them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, SIZE, TRACKS, drawn, make_clip

from trajvit.models import build_model
from trajvit.training.functional import path_name
from trajvit.types import Batch, Clip

CONTEXT = dict(clip_shape=CLIP_SHAPE, max_tracks=TRACKS)
STEM = dict(name="conv", stride=8, widths=(8,), depths=(1,))
SEGMENTER = dict(
  stem=STEM, width=24, num_slots=6, num_heads=2, depth=1, detach=False
)
SPEC = dict(
  name="connector",
  features=dict(name="stem", stem=STEM, width=24),
  llm_width=10,
  frames_per_pool=4,
  num_heads=2,
  depth=1,
)


def build(**spec):
  return drawn(lambda: build_model(SPEC | spec, seed=0, **CONTEXT))


def clip_of(frames, batch=2):
  """A clip of any number of frames, not all alike."""
  rng = np.random.default_rng(0)
  parts = [make_clip(rng, batch) for _ in range(-(-frames // CLIP_SHAPE[0]))]
  joined = jax.tree.map(
    lambda *x: np.concatenate(x, axis=1)[:, :frames], *parts
  )
  return dataclasses.replace(joined, times=None)


@pytest.fixture(scope="module")
def pool():
  """Outputs of a connector of given tracks, compiled once for each shape."""
  model = build()
  return jax.jit(lambda clip: model(Batch(clip)))


def first_frames(clip, count):
  return jax.tree.map(lambda x: x[:, :count], clip)


def test_chunks_are_pooled_by_themselves(pool):
  """Below a chunk, at one, above: a longer clip is its chunks side by side."""
  clip = clip_of(8)
  whole = pool(clip)["tokens"]
  assert whole.features.shape == (2, 2 * TRACKS, 10)
  assert whole.size.sum() == (np.asarray(clip.tracks[..., ::4, ::4]) >= 0).sum()
  for i, part in enumerate((slice(0, 4), slice(4, 8))):
    chunk = pool(jax.tree.map(lambda x, p=part: x[:, p], clip))["tokens"]
    assert chunk.features.shape == (2, TRACKS, 10)
    mine = slice(i * TRACKS, (i + 1) * TRACKS)
    np.testing.assert_allclose(
      whole.features[:, mine], chunk.features, atol=1e-5
    )
    np.testing.assert_array_equal(whole.mask[:, mine], chunk.mask)
    time = np.where(chunk.mask, (chunk.positions[..., 0] + i) / 2, 0)
    np.testing.assert_allclose(whole.positions[:, mine, 0], time, atol=1e-6)
  short = pool(first_frames(clip, 2))["tokens"]
  assert short.features.shape == (2, TRACKS, 10) and short.mask.any(1).all()


def test_the_assignment_names_the_token(pool):
  clip = clip_of(8)
  outputs = pool(clip)
  owner = np.asarray(outputs["aux"]["tokenizer"]["assignment"])
  expected = clip.tracks[..., ::4, ::4].copy()
  expected[:, 4:][expected[:, 4:] >= 0] += TRACKS
  np.testing.assert_array_equal(owner, expected)
  sizes = [(owner == i).sum((1, 2, 3)) for i in range(2 * TRACKS)]
  np.testing.assert_array_equal(outputs["tokens"].size, np.stack(sizes, 1))


def test_permuting_tracks_permutes_the_tokens_of_every_chunk(pool, rng):
  clip = clip_of(8)
  order = rng.permutation(TRACKS)
  tracks = np.where(clip.tracks < 0, -1, order[clip.tracks]).astype(np.int32)
  before = pool(clip)["tokens"]
  after = pool(dataclasses.replace(clip, tracks=tracks))["tokens"]
  both = np.concatenate([order, TRACKS + order])
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
    np.testing.assert_allclose(a, b[:, both], atol=1e-5)


def test_padding_frames_make_no_tokens_and_change_none(pool):
  """A clip padded from 4 to 8 frames has the tokens of its 4 frames."""
  clip = clip_of(8)
  mask = np.ones((2, 8), bool)
  mask[:, 4:] = False
  padded = pool(dataclasses.replace(clip, frame_mask=mask))["tokens"]
  alone = pool(first_frames(clip, 4))["tokens"]
  assert not padded.mask[:, TRACKS:].any()
  assert not np.any(padded.features[:, TRACKS:])
  np.testing.assert_array_equal(padded.mask[:, :TRACKS], alone.mask)
  np.testing.assert_allclose(
    padded.features[:, :TRACKS], alone.features, atol=1e-5
  )


def test_what_trains_behind_a_hard_assignment(nnx_mode):
  """The queries carry gradient to the segmenter; its heads have none."""
  model = build(segmenter=SEGMENTER, frames_per_pool=2)
  graphdef, params = nnx.split(model)
  clip = Clip(clip_of(4).frames)

  @jax.jit
  def gradient(params):
    def loss(params):
      found = nnx.merge(graphdef, params).encode_video(clip)
      return jnp.sin(found["features"]).sum(), found

    return jax.grad(loss, has_aux=True)(params)

  grads, found = gradient(params)
  assert found["features"].shape == (2, 2 * 6, 10)
  assert found["mask"].any(1).all()
  assert not np.any(np.where(found["mask"][..., None], 0, found["features"]))
  leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(grads))
  idle = {"cell_head", "slot_head", "log_scale"}
  for path, grad in leaves:
    name = path_name(path)
    assert np.isfinite(grad).all()
    assert np.any(grad) == idle.isdisjoint(name.split("/")), name


def test_chunks_that_do_not_fit_are_refused():
  def outputs(frames, **spec):
    clip = clip_of(frames)
    return jax.eval_shape(lambda: build(**spec)(Batch(clip)))

  with pytest.raises(ValueError, match="a multiple of frames_per_pool = 4, or"):
    outputs(6)
  tubelet = dict(name="tubelet", patch=(4, 16, 16))
  encoder = dict(name="vit", width=24, depth=1, num_heads=2)
  features = dict(name="encoder", tokenizer=tubelet, encoder=encoder)
  with pytest.raises(ValueError, match="whole steps .* of 4 frames each"):
    outputs(4, features=features, frames_per_pool=2)
  with pytest.raises(ValueError, match="frames_per_pool must be at least 1"):
    build(frames_per_pool=0)
  with pytest.raises(ValueError, match="model 'connector' reads no 'width'"):
    build(width=SIZE)
