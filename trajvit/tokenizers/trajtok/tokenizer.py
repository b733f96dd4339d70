"""TrajTok as a tokenizer: a segmenter, and what is read of its slots."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.table import Table
from trajvit.tokenizers.trajtok.frame_pool import FramePool
from trajvit.tokenizers.trajtok.pooling import SegmentPool
from trajvit.tokenizers.trajtok.segmenter import (
  INITIAL_SCALE,
  Segmenter,
  build_segmenter,
)
from trajvit.types import Clip, Tokens

# Features and logits -> Tokens. What a config can name.
POOLS = Table("pool", {"cells": SegmentPool, "frames": FramePool})


class SegmentTokenizer(nnx.Module):
  """Finds the trajectories of a clip and makes tokens of them, from pixels.

  Args:
    segmenter: frames -> Segmentation.
    pool: features and logits -> Tokens, an entry of POOLS.
    freeze: let no gradient into the segmenter, whose features the pool reads
      as well. It saves the backward pass; an optimizer that decays weights
      must be told too, by its `frozen`.
  """

  needs_tracks = False

  def __init__(
    self,
    segmenter: Segmenter,
    pool: SegmentPool | FramePool,
    *,
    freeze: bool = False,
  ):
    self.segmenter, self.pool, self.freeze = segmenter, pool, freeze

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M K' tokens; those of slots without a cell are masked.

    Args:
      clip: `frames` [B, T, H, W, 3] float, any T; tracks are not read.
      key: given in training, when high-resolution logits are computed.

    Returns:
      Tokens, and aux: `logits` [B, T, h, w, M] float32; `assignment`
      [B, T, h, w] int32 in [0, M), or -1 in padding frames; in training, and if
      the segmenter has them, `high_logits` [B, T, H', W', M] float32.
    """
    found = self.segmenter(clip.frames, clip.frame_mask, train=key is not None)
    if self.freeze:
      found = jax.lax.stop_gradient(found)
    tokens, owner = self.pool(found.patches, found.logits, clip.frame_mask)
    return tokens, found.aux(owner)


def trajtok(
  *,
  stem: dict,
  num_slots: int = 128,
  segment_width: int | None = None,
  depth: int = 2,
  position: str = "rotary_3d",
  add_position: bool = True,
  high_resolution: bool = False,
  detach: bool = True,
  initial_scale: float = INITIAL_SCALE,
  pool: dict | None = None,
  freeze: bool = False,
  width: int,
  num_heads: int,
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> SegmentTokenizer:
  """TrajTok: trajectories found by a segmenter, learned with the rest.

  Source: TrajTok (CVPR 2026), whose encoder is called TrajViT2.

  Args:
    stem: spec of an entry in STEMS.
    num_slots: M, the most trajectories that a clip can have.
    segment_width: D of the segmenter and of the pool; None is `width`.
    depth: layers of each perceiver, the segmenter's and the pool's.
    position: of both; see `layers.perceiver`.
    add_position: see `Segmenter`.
    high_resolution: likewise.
    detach: likewise.
    initial_scale: likewise.
    pool: spec of an entry in POOLS; None is "cells".
    freeze: see `SegmentTokenizer`.
    width: of the tokens.
    num_heads: K of all attention.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  both = dict(
    num_slots=num_slots,
    num_heads=num_heads,
    depth=depth,
    position=position,
    dtype=dtype,
    rngs=rngs,
  )
  segmenter = build_segmenter(
    stem,
    width=segment_width or width,
    add_position=add_position,
    high_resolution=high_resolution,
    detach=detach,
    initial_scale=initial_scale,
    **both,
  )
  pool = POOLS.build(
    pool or {"name": "cells"}, inputs=segmenter.width, outputs=width, **both
  )
  return SegmentTokenizer(segmenter, pool, freeze=freeze)
