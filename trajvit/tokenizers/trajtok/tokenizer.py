"""TrajTok as a tokenizer: a segmenter, and what is read of its slots."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.matching import number_labels, resize_labels
from trajvit.table import Table
from trajvit.tokenizers.trajtok.frame_pool import FramePool
from trajvit.tokenizers.trajtok.pooling import SegmentPool
from trajvit.tokenizers.trajtok.segmenter import (
  INITIAL_SCALE,
  Segmenter,
  build_segmenter,
  hard_assignment,
)
from trajvit.types import Clip, Tokens

# Features and logits -> Tokens. What a config can name.
POOLS = Table("pool", {"cells": SegmentPool, "frames": FramePool})

# The logit of a cell's slot where it is given, the others' being 0.
SURE = 40.0


class SegmentTokenizer(nnx.Module):
  """Finds the trajectories of a clip and makes tokens of them, from pixels.

  Args:
    segmenter: frames -> Segmentation.
    pool: features and logits -> Tokens, an entry of POOLS.
    teacher: share of the clips, in training, whose tokens are read by their
      tracks and not by the segmentation (teacher forcing): what comes after
      learns on good trajectories before the segmenter finds any. Clips without
      tracks are read by the segmentation, as all clips are in evaluation.
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
    teacher: float = 0.0,
    freeze: bool = False,
  ):
    if not 0 <= teacher <= 1:
      raise ValueError(f"teacher must be in [0, 1], got {teacher}")
    self.segmenter, self.pool = segmenter, pool
    self.teacher, self.freeze = teacher, freeze

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M K' tokens; those of slots without a cell are masked.

    Args:
      clip: `frames` [B, T, H, W, 3] float, any T; `tracks` [B, T, s h, s w]
        int32, negative = none, are read in training if there is a `teacher`.
      key: given in training, when high-resolution logits are computed. It draws
        the clips that are taught.

    Returns:
      Tokens, and aux: `logits` [B, T, h, w, M] float32; `assignment`
      [B, T, h, w] int32 in [0, M), or -1 in padding frames, as segmented; in
      training, and if the segmenter has them, `high_logits`
      [B, T, H', W', M] float32.
    """
    found = self.segmenter(clip.frames, clip.frame_mask, train=key is not None)
    if self.freeze:
      found = jax.lax.stop_gradient(found)
    owner = hard_assignment(found.logits, clip.frame_mask)
    aux = found.aux(owner)
    logits = found.logits
    if self.teacher and key is not None and clip.tracks is not None:
      taught = jax.random.bernoulli(key, self.teacher, logits.shape[:1])
      taught = taught[:, None, None, None]
      given = given_slots(clip, logits.shape)
      owner = jnp.where(taught, given, owner)
      sure = SURE * jax.nn.one_hot(given, logits.shape[-1])
      logits = jnp.where(taught[..., None], sure, logits)
    tokens, _ = self.pool(found.patches, logits, clip.frame_mask, owner)
    return tokens, aux


def given_slots(clip: Clip, shape: tuple[int, ...]) -> jax.Array:
  """Returns tracks as if slots had found them, [B, T, h, w] int32, -1 = none.

  Args:
    clip: with tracks; they are numbered by their first cell, and those after
      the first M are left out.
    shape: (B, T, h, w, M), of the logits.
  """
  labels = resize_labels(jnp.asarray(clip.tracks), shape[2:4])
  if clip.frame_mask is not None:
    labels = jnp.where(clip.frame_mask[:, :, None, None], labels, -1)
  return number_labels(labels, shape[-1])[0]


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
  teacher: float = 0.0,
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
    teacher: see `SegmentTokenizer`.
    freeze: likewise.
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
  return SegmentTokenizer(segmenter, pool, teacher=teacher, freeze=freeze)
