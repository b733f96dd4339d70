"""The segmenter as a model, and TrajTok inside the video-text model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLIP_SHAPE, TRACKS, WORDS

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.functional import functional

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
SHARED = dict(
  stem=dict(name="conv", widths=(8,), depths=(1,), stride=4),
  num_slots=6,
  num_heads=2,
  depth=1,
)
SEGMENTER = dict(name="segmenter", width=24, **SHARED)
VIDEO_TEXT = dict(
  name="video_text",
  tokenizer=dict(name="trajtok", **SHARED),
  encoder=dict(name="vit", width=24, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)


def make(spec):
  return functional(lambda: build_model(spec, seed=0, **CONTEXT))


@pytest.fixture(scope="module")
def segmenter():
  init, apply = make(SEGMENTER | dict(high_resolution=True))
  return init(), jax.jit(apply)


def test_outputs_lie_where_those_of_a_tokenizer_do(segmenter, batch):
  variables, apply = segmenter
  outputs = apply(variables, batch)
  aux = outputs["aux"]["tokenizer"]
  assert aux["logits"].shape == (3, 4, 8, 8, 6)
  assert aux["assignment"].shape == (3, 4, 8, 8)
  assert "high_logits" not in aux
  assert outputs["tokens"].size.sum(1).tolist() == [4 * 8 * 8] * 3
  key = jax.random.key(0)
  fine = apply(variables, batch, key)["aux"]["tokenizer"]["high_logits"]
  assert fine.shape == (3, 4, 32, 32, 6)


def test_what_masked_frames_hold_changes_nothing(segmenter, batch):
  variables, apply = segmenter
  mask = batch.clip.frame_mask.copy()
  mask[0, 2:] = False
  frames = batch.clip.frames.copy()
  found = []
  for fill in (0, 255):
    frames[0, 2:] = fill
    clip = dataclasses.replace(batch.clip, frames=frames, frame_mask=mask)
    found.append(apply(variables, dataclasses.replace(batch, clip=clip)))
  for a, b in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_array_equal(a, b)


def test_it_learns_the_tracks_it_is_given(batch):
  """Squares of one colour: a few steps of descent lower the loss."""
  init, apply = make(SEGMENTER)
  objective = build_objectives({"grouping": {}})
  frames = np.zeros((3, *CLIP_SHAPE, 3), np.uint8)
  tracks = np.zeros((3, 4, 8, 8), np.int32)
  for t in range(4):
    frames[:, t, 8:20, 4 * t : 4 * t + 12] = (250, 20, 90)
    tracks[:, t, 2:5, t : t + 3] = 1
  clip = dataclasses.replace(batch.clip, frames=frames, tracks=tracks)
  batch = dataclasses.replace(batch, clip=clip)

  @jax.jit
  def step(variables):
    def loss(params):
      outputs = apply(variables | dict(params=params), batch)
      return objective(outputs, batch)[0]

    value, grads = jax.value_and_grad(loss)(variables["params"])
    params = jax.tree.map(
      lambda x, g: x - 3e-3 * jnp.sign(g), variables["params"], grads
    )
    return value, variables | dict(params=params)

  variables, losses = init(), []
  for _ in range(15):
    loss, variables = step(variables)
    losses.append(float(loss))
  assert losses[-1] < 0.6 * losses[0]


def test_it_fits_the_tokenizer_of_the_video_model(nnx_mode, batch):
  """A segmenter trained alone can start one, and is read in the same way."""

  def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

  def run(spec):
    init, apply = make(spec)
    variables = jax.eval_shape(init)
    outputs = jax.eval_shape(apply, variables, batch)
    return variables["params"], outputs

  alone, found = run(SEGMENTER)
  whole, outputs = run(VIDEO_TEXT)
  assert shapes(alone["segmenter"]) == shapes(whole["tokenizer"]["segmenter"])
  names = found["aux"]["tokenizer"]
  assert shapes(names) == shapes(outputs["aux"]["tokenizer"])
  assert outputs["video_embedding"].shape == (3, 8)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(slots=3), "model 'segmenter' reads no 'slots'"),
    (dict(dtype="float16"), "float32, bfloat16, got 'float16'"),
    (dict(stem=dict(name="cnn")), "unknown stem 'cnn'; known: conv"),
  ],
)
def test_what_a_config_gets_wrong_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    build_model(SEGMENTER | options, seed=0, **CONTEXT)
