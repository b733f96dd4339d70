"""Patch features: the same numbers as inside the model they come from."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, drawn

from trajvit.models.features import FEATURES
from trajvit.models.video_text import VideoText

TUBELET = dict(name="tubelet", patch=(2, 8, 8))
VIT = dict(name="vit", width=16, depth=1, num_heads=2)


def build(**spec):
  context = dict(clip_shape=CLIP_SHAPE)
  return drawn(lambda: FEATURES.build(spec, rngs=nnx.Rngs(0), **context))


def test_they_are_the_encoder_of_a_video_text_model(clip):
  provider = build(name="encoder", tokenizer=TUBELET, encoder=VIT)
  text = nnx.Linear(16, 16, rngs=nnx.Rngs(params=0))
  text.width = 16
  model = VideoText(
    provider.tokenizer,
    provider.encoder,
    text,
    embed_dim=8,
    pool="mean",
    rngs=nnx.Rngs(params=0),
  )
  mask = clip.frame_mask.copy()
  mask[1, 2:] = False
  clip = dataclasses.replace(clip, frame_mask=mask)
  features, real = jax.jit(provider.__call__)(clip)
  assert features.shape == (3, 2, 4, 4, 16)
  np.testing.assert_array_equal(real[:, :, 0, 0], mask[:, ::2])
  assert (real == real[:, :, :1, :1]).all() and not np.any(features[1, 1])

  count = real.sum((1, 2, 3))[:, None]
  pooled = model.project_video(features.sum((1, 2, 3)) / count)
  unit = pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
  expected = jax.jit(model.encode_video)(clip)
  np.testing.assert_allclose(unit, expected, atol=1e-5)


def test_a_stem_sees_frames_alone(clip):
  stem = dict(name="conv", stride=8, widths=(8,), depths=(1,))
  provider = build(name="stem", stem=stem, width=12)
  run = jax.jit(provider.__call__)
  features, real = run(clip)
  assert features.shape == (3, 4, 4, 4, 12) and real.all()
  frames, mask = clip.frames.copy(), clip.frame_mask.copy()
  frames[:, 1] = 7
  mask[:, 2] = False
  changed = dataclasses.replace(clip, frames=frames, frame_mask=mask)
  got, real = run(changed)
  np.testing.assert_array_equal(got[:, ::3], features[:, ::3])
  assert np.abs(got[:, 1] - features[:, 1]).max() > 1e-3
  assert not np.any(got[:, 2]) and not real[:, 2].any() and real[:, 3].all()


def test_what_keeps_no_grid_is_refused(clip):
  light = dict(name="trajectory_light", max_tracks=4)
  with pytest.raises(ValueError, match="got TrajectoryLightTokenizer"):
    build(name="encoder", tokenizer=light, encoder=VIT)
  thinned = VIT | dict(reducers=[dict(name="random_k", k=3)])
  with pytest.raises(ValueError, match="an encoder without reducers"):
    build(name="encoder", tokenizer=TUBELET, encoder=thinned)
