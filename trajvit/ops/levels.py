"""Frames as the whole levels 0 to 255 that they had before normalisation.

Sums of whole numbers do not depend on their order, so what is decided by them
on the device can be foreseen on the host.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.change import previous_real, tubelet_ends, tubelet_mask
from trajvit.pixels import LEVELS, NORMALIZATIONS, Weights

# The change of what nothing came before.
NEW = 2**31 - 1


def levels(
  frames: jax.Array,
  frame_mask: jax.Array | None = None,
  *,
  normalization: str,
) -> jax.Array:
  """Returns the levels that normalised frames stand for.

  Exact for frames that were whole levels; others are rounded, and cut off at 0
  and 255. No gradient passes.

  Args:
    frames: [B, F, H, W, 3] float, normalised.
    frame_mask: [B, F] bool, True = real; None means all are.
    normalization: a name in NORMALIZATIONS.

  Returns:
    [B, F, H, W, 3] int32 in [0, 255], 0 in masked frames.
  """
  mean, deviation = np.array(NORMALIZATIONS[normalization], np.float32)
  x = jax.lax.stop_gradient(frames).astype(jnp.float32)
  if frame_mask is not None:
    x = jnp.where(frame_mask[:, :, None, None, None], x, 0)
  found = jnp.clip(jnp.round((x * deviation + mean) * LEVELS), 0, LEVELS)
  found = found.astype(jnp.int32)
  if frame_mask is not None:
    found = jnp.where(frame_mask[:, :, None, None, None], found, 0)
  return found


def level_change(
  frames: jax.Array,
  frame_mask: jax.Array | None = None,
  *,
  tubelet: int,
  patch: int,
  weights: Weights,
) -> jax.Array:
  """Returns how much the levels of each tubelet differ from those before it.

  `change.pixel_change` in whole numbers: the sum of the absolute differences
  between the last frame of a tubelet and the first of the one before it.

  Args:
    frames: [B, F, H, W, 3] int32 levels, 0 in masked frames.
    frame_mask: [B, F] bool, True = real; None means all are.
    tubelet: frames in a tubelet.
    patch: pixels on a side of a patch.
    weights: of the channels.

  Returns:
    [B, T, h, w] int32; NEW where nothing came before, 0 where masked.

  Raises:
    ValueError: tubelets or patches do not divide the clip.
  """
  if frame_mask is None:
    frame_mask = jnp.ones(frames.shape[:2], bool)
  first, last = tubelet_ends(frames, tubelet=tubelet, patch=patch)
  mask = tubelet_mask(frame_mask, tubelet)
  before, some = previous_real(first, mask)
  difference = jnp.abs(last - before)  # [B, T, h, w, p p 3]
  channels = difference.reshape(*difference.shape[:-1], -1, 3).sum(-2)
  change = (channels * np.array(weights.channels, np.int32)).sum(-1)
  change = jnp.where(some[:, :, None, None], change, NEW)
  return jnp.where(mask[:, :, None, None], change, 0)


def as_score(change: jax.Array) -> jax.Array:
  """Returns whole changes as float32, inf where nothing came before."""
  return jnp.where(change == NEW, jnp.inf, change.astype(jnp.float32))
