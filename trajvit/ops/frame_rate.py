"""Clips seen at another frame rate than they have."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.types import Clip


def thinned(clip: Clip, key: jax.Array, strides: Sequence[int]) -> Clip:
  """Returns clips of which every r-th frame is there, r drawn for each.

  Args:
    clip: T frames; those left out are masked, and keep their times.
    key: of the draw.
    strides: the r to draw from, with equal chances.
  """
  shape = clip.frames.shape[:2]
  drawn = jax.random.choice(key, jnp.asarray(strides), shape[:1])
  mask = jnp.arange(shape[1]) % drawn[:, None] == 0  # [B, T]
  if clip.frame_mask is not None:
    mask &= clip.frame_mask
  return dataclasses.replace(clip, frame_mask=mask)
