"""Small parts of TrajTok that its tests share."""

import functools

import jax
import numpy as np
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.patches import patchify
from trajvit.tokenizers.trajtok import Segmenter, SegmentPool

WIDTH, HEADS, SLOTS, PATCH = 24, 2, 6, 8
BATCH, FRAMES, CELLS = 2, 3, 4


class TinyStem(nnx.Module):
  """Linear patches, and what tells one from another: a stem to compile fast."""

  stride, width = PATCH, WIDTH

  def __init__(self):
    self.linear = Linear(3 * PATCH * PATCH, WIDTH, rngs=nnx.Rngs(1))

  def __call__(self, frames):
    return self.linear(patchify(frames[:, None], (1, PATCH, PATCH))[:, 0])


@functools.cache
def make_segmenter(**options):
  defaults = dict(num_slots=SLOTS, num_heads=HEADS, depth=1, head_dims=(16, 8))
  return Segmenter(TinyStem(), **defaults | options, rngs=nnx.Rngs(0))


@functools.cache
def make_pool(**options):
  defaults = dict(num_slots=SLOTS, num_heads=HEADS, depth=1)
  return SegmentPool(WIDTH, 16, **defaults | options, rngs=nnx.Rngs(2))


def make_frames(rng, frames=FRAMES):
  size = PATCH * CELLS
  return rng.normal(size=(BATCH, frames, size, size, 3)).astype(np.float32)


def largest(tree):
  """The largest absolute value of each array of a pytree."""
  return [float(np.abs(x).max()) for x in jax.tree.leaves(tree)]
