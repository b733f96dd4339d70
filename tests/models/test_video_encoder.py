"""A video tower alone gives what the same tower gives in two towers."""

import jax
import numpy as np
import pytest
from tiny import CLIP_SHAPE, TRACKS, drawn

from trajvit.models import build_model

POOLS = ("cls", "mean")
CONTEXT = dict(clip_shape=CLIP_SHAPE, max_tracks=TRACKS)
SPEC = dict(
  name="video_encoder",
  tokenizer=dict(name="trajectory_light"),
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
)


def build(**spec):
  return build_model(SPEC | spec, seed=0, **CONTEXT)


def test_the_embedding_is_what_the_pool_says(batch):
  models = [drawn(lambda pool=pool: build(pool=pool)) for pool in POOLS]
  found = jax.jit(lambda batch: [model(batch) for model in models])(batch)
  for pool, outputs in zip(POOLS, jax.device_get(found), strict=True):
    tokens = outputs["tokens"]
    expected = tokens.features[:, 0]
    if pool == "mean":
      real = tokens.mask & ~tokens.protected
      total = (tokens.features * real[..., None]).sum(1)
      expected = total / real.sum(1, keepdims=True)
    found = outputs["video_embedding"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_pool_that_cannot_be_is_refused():
  with pytest.raises(ValueError, match="must be 'cls' or 'mean', got 'max'"):
    drawn(lambda: build(pool="max"))
  with pytest.raises(ValueError, match="registers >= 1, got 0"):
    drawn(lambda: build(encoder=SPEC["encoder"] | dict(registers=0)))
