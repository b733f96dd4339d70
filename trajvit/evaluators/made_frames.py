"""Frames that a model makes of so many tokens, as they would be stored."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.pixels import LEVELS, NORMALIZATIONS
from trajvit.types import Batch


def check_budgets(budgets: Sequence[int]) -> tuple[int, ...]:
  """Returns the budgets.

  Raises:
    ValueError: one is below 1.
  """
  if budgets and min(budgets) < 1:
    raise ValueError(f"budgets must be at least 1, got {tuple(budgets)}")
  return tuple(budgets)


def with_budget(batch: Batch, budget: int | None) -> Batch:
  """Returns a batch of which the first `budget` tokens of a step are read.

  None leaves the batch as it is: all tokens are.
  """
  if budget is None:
    return batch
  count = np.full(len(batch.clip.frames), budget, np.int32)
  return dataclasses.replace(batch, budget=count)


def made_and_true(
  outputs: dict, normalization: str
) -> tuple[jax.Array, jax.Array]:
  """Returns the frames that a model has made, and those it was to make.

  Args:
    outputs: of a model; `frames` and `target_frames` [B, T, H, W, 3] float in
      its normalised space.
    normalization: of the model, a name in NORMALIZATIONS.

  Returns:
    Two arrays [B, T, H, W, 3] float32 in [0, 1], cut and rounded to 256 levels.
    What is not finite is NaN.

  Raises:
    ValueError: the model makes no frames.
  """
  if outputs.get("frames") is None:
    raise ValueError("the model makes no frames: its outputs have none")
  made, true = (
    _stored(outputs[name], normalization)
    for name in ("frames", "target_frames")
  )
  return jnp.where(jnp.isfinite(outputs["frames"]), made, jnp.nan), true


def valid_clips(batch: Batch) -> np.ndarray:
  """Returns [B] bool, the rows of a batch on the host that are clips."""
  if batch.valid is None:
    return np.ones(len(batch.clip.frames), bool)
  return np.asarray(batch.valid)


def real_frames(batch: Batch) -> jax.Array:
  """Returns [B, T] bool, the real frames of the rows that are clips."""
  mask = batch.clip.frame_mask
  if mask is None:
    mask = jnp.ones(batch.clip.frames.shape[:2], bool)
  return mask if batch.valid is None else mask & batch.valid[:, None]


def _stored(frames, normalization):
  """[0, 1], of 256 levels."""
  mean, deviation = np.array(NORMALIZATIONS[normalization], np.float32)
  pixels = jnp.clip(frames * deviation + mean, 0, 1)
  return jnp.round(pixels * LEVELS) / LEVELS
