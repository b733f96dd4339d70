import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.models import build_model
from trajvit.models.features import FEATURES
from trajvit.training.functional import functional
from trajvit.types import Batch, Clip, Text

SIZE = dict(width=8, depth=1, num_heads=2, mlp_dim=16)
VISION = dict(name="vit", patch=(1, 4, 4), outputs=6, **SIZE)
TEXT = dict(name="transformer", outputs=6, **SIZE)
CONTEXT = dict(clip_shape=(4, 8, 8), max_tracks=2, vocab_size=10, text_length=5)


def build(**spec):
  return build_model(dict(name="towers", **spec), seed=0, **CONTEXT)


@pytest.fixture
def inputs(rng):
  frames = rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8)
  real = np.array([[True] * 4, [True, True, False, False]])
  ids = rng.integers(1, 10, (2, 3, 5)).astype(np.int32)
  return Batch(
    clip=Clip(frames, frame_mask=real), text=Text(ids, np.ones_like(ids, bool))
  )


def test_both_towers_meet(inputs, nnx_mode):
  init, apply = functional(lambda: build(vision=VISION, text=TEXT))
  outputs = jax.jit(apply)(init(), inputs)
  norms = (
    np.linalg.norm(outputs[name], axis=-1)
    for name in ("video_embedding", "text_embedding")
  )
  video, text = norms
  assert video.shape == (2,) and text.shape == (2, 3)
  np.testing.assert_allclose(video, 1, atol=1e-5)
  np.testing.assert_allclose(text, 1, atol=1e-5)
  np.testing.assert_allclose(outputs["temperature"], 0.07, rtol=1e-6)
  tokens = outputs["tokens"]
  assert tokens.features.shape == (2, 16, 8)
  np.testing.assert_array_equal(tokens.mask.sum(1), [16, 8])


@pytest.mark.slow
def test_padding_frames_are_not_read(inputs):
  model = build(vision=VISION)
  encode = jax.jit(model.encode_video)
  frames = inputs.clip.frames.copy()
  frames[1, 2:] = 255 - frames[1, 2:]
  other = dataclasses.replace(inputs.clip, frames=frames)
  embedding = encode(inputs.clip)
  np.testing.assert_array_equal(encode(other), embedding)
  short = Clip(inputs.clip.frames[1:, :2])
  np.testing.assert_allclose(encode(short)[0], embedding[1], atol=1e-5)


def test_one_tower_is_enough(inputs):
  seen = jax.eval_shape(build(vision=VISION), inputs)
  read = jax.eval_shape(build(text=TEXT), inputs)
  assert "text_embedding" not in seen and "temperature" not in seen
  assert "video_embedding" not in read and "tokens" not in read
  without = jax.eval_shape(build(text=TEXT), Batch(clip=inputs.clip))
  assert "text_embedding" not in without


def test_towers_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="got none"):
    build()
  with pytest.raises(ValueError, match="reads no 'bias'"):
    build(vision=VISION, bias=1.0)
  with pytest.raises(ValueError, match="6 of vision and 8 of text"):
    build(vision=VISION, text=TEXT | dict(outputs=None))


def test_a_tower_gives_features_of_patches(inputs):
  spec = dict(name="tower", vision=VISION | dict(outputs=None))
  provider = FEATURES.build(spec, clip_shape=(4, 8, 8), rngs=nnx.Rngs(params=0))
  features, mask = jax.jit(provider)(inputs.clip)
  assert features.shape == (2, 4, 2, 2, 8) and provider.width == 8
  np.testing.assert_array_equal(mask[:, :, 0, 0], inputs.clip.frame_mask)
  assert not np.asarray(features)[1, 2:].any()
  model = build(vision=VISION | dict(outputs=None))
  tokens = jax.jit(model.tokenize)(inputs.clip).features
  np.testing.assert_allclose(features.reshape(tokens.shape), tokens, atol=1e-6)


def test_the_map_is_of_the_pooled_feature():
  model = build(vision=VISION)
  assert isinstance(model.vision.project, Linear)
  assert model.vision.outputs == 6 and model.vision.width == 8
