"""Dropping what did not change over time, and how long what is kept lasts.

Axes of time and space are kept apart: arrays are [B, T, ...] with T frames or
tubelets, and flattening the axes after the first gives raster order.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def keep_changed(
  change: jax.Array, mask: jax.Array, *, threshold: float
) -> jax.Array:
  """Returns where the change is above the threshold.

  Source: RLT, arXiv:2411.05222, with 0.1 on pixels normalised as for ImageNet.

  Args:
    change: [B, T, ...] float32, inf where nothing came before.
    mask: [B, T, ...] bool, True = real.
    threshold: a change of just as much is dropped.

  Returns:
    [B, T, ...] bool, False where masked.
  """
  return mask & (change > threshold)


def keep_dissimilar(
  similarity: jax.Array, mask: jax.Array, *, threshold: float
) -> jax.Array:
  """Returns where the similarity is not above the threshold.

  Source: the differential token drop of TimeChat-Online, arXiv:2504.17343, with
  0.5 on features.

  Args:
    similarity: [B, T, ...] float32, -inf where nothing came before.
    mask: [B, T, ...] bool, True = real.
    threshold: a similarity of just as much is kept.

  Returns:
    [B, T, ...] bool, False where masked.
  """
  return mask & (similarity <= threshold)


def keep_most_changed(
  change: jax.Array, mask: jax.Array, count: int
) -> jax.Array:
  """Returns the `count` places of a clip that changed most.

  The budget is the clip's: busy frames keep more. Of equals the first in raster
  order are kept. Source: EVS, arXiv:2510.14624.

  Args:
    change: [B, T, ...] float32, inf where nothing came before.
    mask: [B, T, ...] bool, True = real.
    count: places to keep, at least as many as nothing came before, for those
      all to be kept. A clip with fewer real ones keeps them all.

  Returns:
    [B, T, ...] bool, False where masked.
  """
  flat = jnp.where(mask, change, -jnp.inf).reshape(mask.shape[0], -1)
  return mask & (_rank(-flat) < count).reshape(mask.shape)


def drop_least_changed(
  change: jax.Array, mask: jax.Array, count: int
) -> jax.Array:
  """Returns what is left when every frame drops `count` places.

  Dropped are those that changed least, of equals the last in raster order, and
  never one that nothing came before. Source: the relative mode of
  TimeChat-Online's differential token drop, arXiv:2504.17343.

  Args:
    change: [B, T, ...] float32, inf where nothing came before.
    mask: [B, T, ...] bool, True = real.
    count: places that each frame drops; all it can where it has fewer.

  Returns:
    [B, T, ...] bool, False where masked.
  """
  flat = jnp.where(mask, change, -jnp.inf).reshape(*mask.shape[:2], -1)
  left = mask.reshape(flat.shape).sum(-1, keepdims=True) - count
  keep = (_rank(-flat) < left) | (flat == jnp.inf)
  return mask & keep.reshape(mask.shape)


def _rank(x):
  """[..., N] int32: 0 for the least of the last axis, the first of equals."""
  return jnp.argsort(jnp.argsort(x, axis=-1), axis=-1)


def keep_since_kept(
  now: jax.Array,
  reference: jax.Array,
  mask: jax.Array,
  difference: Callable,
  *,
  threshold: float,
) -> jax.Array:
  """Returns what differs from the last kept one at its place.

  A slow drift, which no two neighbours in time show, is kept once it adds up.

  Args:
    now: [B, T, ..., D], what is compared; for tubelets their last frame.
    reference: [B, T, ..., D], what later ones are compared with; for tubelets
      their first frame. For features, `now` again.
    mask: [B, T, ...] bool, True = real.
    difference: from two [B, ..., D] to [B, ...] float32.
    threshold: a difference of just as much is dropped.

  Returns:
    [B, T, ...] bool, False where masked; the first real one is always kept.
  """
  now, reference = (jnp.where(mask[..., None], x, 0) for x in (now, reference))

  def step(state, frame):
    held, some = state
    now, reference, real = frame
    differs = difference(now, held) > threshold
    keep = real & (differs | ~some)
    held = jnp.where(keep[..., None], reference, held)
    return (held, some | keep), keep

  start = jnp.zeros_like(reference[:, 0]), jnp.zeros_like(mask[:, 0])
  frames = [jnp.moveaxis(x, 1, 0) for x in (now, reference, mask)]
  return jnp.moveaxis(jax.lax.scan(step, start, frames)[1], 0, 1)


class Runs(NamedTuple):
  """What is kept, each with what follows it in its place until the next.

  Attributes:
    head: [B, T, ...] int32 in [0, T), the frame of the kept one that each real
      one belongs to; -1 where masked or none was kept so far.
    length: [B, T, ...] int32, how many real ones belong to a kept one, itself
      among them; 0 where nothing is kept.
  """

  head: jax.Array
  length: jax.Array


def runs(keep: jax.Array, mask: jax.Array) -> Runs:
  """Returns which kept one everything belongs to, and their lengths.

  Args:
    keep: [B, T, ...] bool.
    mask: [B, T, ...] bool, True = real. What is masked is not kept.

  Returns:
    Runs. Where the first real one of every place is kept, the lengths of a clip
    sum to its real ones.
  """
  keep = keep & mask
  count = mask.shape[1]
  frame = jnp.arange(count, dtype=jnp.int32)
  frame = frame.reshape((-1,) + (1,) * (mask.ndim - 2))
  head = jax.lax.cummax(jnp.where(keep, frame, -1), axis=1)
  following = jnp.where(keep, frame, count)
  following = jax.lax.cummin(following, axis=1, reverse=True)
  end = jnp.full_like(following[:, :1], count)
  following = jnp.concatenate([following[:, 1:], end], axis=1)
  # Real ones before each frame, so that those in between are a difference.
  before = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
  before = jnp.concatenate([jnp.zeros_like(end), before], axis=1)
  length = jnp.take_along_axis(before, following, axis=1) - before[:, :-1]
  return Runs(jnp.where(mask, head, -1), jnp.where(keep, length, 0))
