"""Tiny clips, batches and models that tests share."""

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.types import Batch, Clip, Text

FRAMES, SIZE, GRID, TRACKS, WORDS = 4, 32, 16, 5, 6
CLIP_SHAPE = (FRAMES, SIZE, SIZE)
# What fills places that nothing may read, for tests that compile long.
FILLS = [pytest.param(1e4, marks=pytest.mark.slow), np.nan]


def make_clip(rng, batch=3, tracks=TRACKS):
  """A clip whose last track id never occurs, and track 0 not in frame 0."""
  labels = rng.integers(-1, tracks - 1, (batch, FRAMES, GRID, GRID))
  labels[:, 0][labels[:, 0] == 0] = 1
  return Clip(
    frames=rng.integers(0, 256, (batch, *CLIP_SHAPE, 3), dtype=np.uint8),
    frame_mask=np.ones((batch, FRAMES), bool),
    times=np.tile(np.arange(FRAMES, dtype=np.float32), (batch, 1)),
    tracks=labels.astype(np.int32),
  )


def make_batch(rng, batch=3):
  """Clips with one caption each."""
  ids = rng.integers(1, 20, (batch, WORDS)).astype(np.int32)
  return Batch(
    clip=make_clip(rng, batch),
    text=Text(ids=ids, mask=np.ones((batch, WORDS), bool)),
    clip_id=np.arange(batch, dtype=np.int32),
  )


def drawn(build):
  """The module of `build`, its arrays drawn anew: no value is a special one.

  And none is computed, which takes longer than most tests.
  """
  graphdef, state = nnx.split(nnx.eval_shape(build))
  rng = np.random.default_rng(0)
  state = jax.tree.map(
    lambda x: jax.numpy.asarray(rng.normal(0, 0.2, x.shape), x.dtype), state
  )
  return nnx.merge(graphdef, state)


def on_host(function):
  """Compiles `function`, and gives NumPy arrays for tests to compute on.

  What a test does with arrays of JAX is compiled too, operation by operation.
  """
  compiled = jax.jit(function)
  return lambda *args: jax.device_get(compiled(*args))
