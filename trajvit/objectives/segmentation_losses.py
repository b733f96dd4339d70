"""Dice, focal and cross-entropy losses of soft slots, chunk by chunk of pixels.

All come from a few sums over pixels. Softmax and logarithms exist for one chunk
at a time, forward and backward: logits of 8 x 224 x 224 pixels and 128 slots
are 205 MB a clip, and nothing else has that size but their gradient.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Pixels of a clip in a chunk, unless a single row of the map has more.
CHUNK = 4096
EPSILON = 1e-6  # of Dice, in pixels


class PixelSums(NamedTuple):
  """Sums over the labelled pixels of a clip.

  Attributes:
    overlap: [B, M] float32, of p(slot) over the pixels that are the slot's.
    mass: [B, M], of p(slot) over all labelled pixels.
    area: [B, M], how many pixels are the slot's.
    focal: [B], of (1 - p)^2 (-log p), p of the pixel's own slot.
    cross_entropy: [B], of -log p.
  """

  overlap: jax.Array
  mass: jax.Array
  area: jax.Array
  focal: jax.Array
  cross_entropy: jax.Array


def pixel_sums(logits: jax.Array, slots: jax.Array) -> PixelSums:
  """Returns what the losses need of a segmentation.

  Args:
    logits: [B, T, h, w, M] of any float dtype; anything where `slots` is -1:
      its gradient is 0 there.
    slots: [B, T, h, w] int32 in [0, M), or -1 = unlabelled.
  """
  batch, frames, height, width, num_slots = logits.shape
  rows = logits.reshape(batch, frames * height, width, num_slots)
  return _sums(rows, slots.reshape(rows.shape[:-1]))


def dice(sums: PixelSums) -> jax.Array:
  """Returns 1 - Dice [], the mean over a clip's slots, then over clips.

  A slot counts where it has pixels and a clip where it has slots; without any,
  the loss is 0. Dice is (2 overlap + e) / (mass + area + e), e = 1e-6.
  """
  present = sums.area > 0
  score = (2 * sums.overlap + EPSILON) / (sums.mass + sums.area + EPSILON)
  count = present.sum(-1)
  mean = jnp.where(present, score, 0).sum(-1) / jnp.maximum(count, 1)
  losses = jnp.where(count > 0, 1 - mean, 0)
  return losses.sum() / jnp.maximum((count > 0).sum(), 1)


def merge_samples(sums: PixelSums, slots: jax.Array) -> PixelSums:
  """Returns the sums as of one clip, in which labels of one number are one.

  Args:
    sums: of B clips.
    slots: [B, M] int32, the slot of each label.
  """

  def merge(x):
    if x.ndim == 2:
      x = jnp.take_along_axis(x, slots, axis=1)
    return x.sum(0, keepdims=True)

  return jax.tree.map(merge, sums)


def pixel_mean(total: jax.Array, sums: PixelSums) -> jax.Array:
  """Returns the mean [] over all labelled pixels of the batch, 0 without any.

  Args:
    total: [B], `sums.focal` or `sums.cross_entropy`.
    sums: whose `area` says how many pixels there are.
  """
  return total.sum() / jnp.maximum(sums.area.sum(), 1)


def _chunk_sums(logits, slots):
  """[B, r, w, M] logits and [B, r, w] slots to PixelSums."""
  labelled = slots >= 0
  logits = jnp.where(labelled[..., None], logits.astype(jnp.float32), 0)
  log_p = jax.nn.log_softmax(logits, axis=-1)
  own = slots[..., None] == jnp.arange(logits.shape[-1])
  p = jnp.where(labelled[..., None], jnp.exp(log_p), 0)
  log_own = jnp.where(own, log_p, 0).sum(-1)  # [B, r, w], 0 if unlabelled
  return PixelSums(
    overlap=jnp.where(own, p, 0).sum((1, 2)),
    mass=p.sum((1, 2)),
    area=own.sum((1, 2), dtype=jnp.float32),
    focal=-(jnp.expm1(log_own) ** 2 * log_own).sum((1, 2)),
    cross_entropy=-log_own.sum((1, 2)),
  )


@jax.custom_vjp
def _sums(logits, slots):
  """As `_chunk_sums`, over chunks of rows."""
  count, chunk = _chunks(logits, slots)

  def add(i, sums):
    return jax.tree.map(jnp.add, sums, _chunk_sums(*chunk(i)))

  return _loop(count - 1, add, _chunk_sums(*chunk(0)))


def _forward(logits, slots):
  return _sums(logits, slots), (logits, slots)


def _backward(saved, grads):
  logits, slots = saved
  count, chunk = _chunks(logits, slots)

  def gradient(i):
    part, where = chunk(i)
    run = functools.partial(_chunk_sums, slots=where)
    return jax.vjp(run, part)[1](grads)[0]

  if count == 1:
    return gradient(0), None
  # Written in place: a scan's own gradient would add up whole arrays.
  rows = logits.shape[1] // count

  def write(i, whole):
    start = (0, i * rows, 0, 0)
    return jax.lax.dynamic_update_slice(whole, gradient(i), start)

  whole = jax.lax.fori_loop(0, count, write, jnp.zeros_like(logits))
  return whole, None


_sums.defvjp(_forward, _backward)


def _chunks(*arrays):
  """How many chunks, and a function from a number to that chunk of each."""
  rows, width = arrays[0].shape[1:3]
  most = max(CHUNK // width, 1)
  size = max(r for r in range(1, rows + 1) if rows % r == 0 and r <= most)

  def chunk(i):
    cut = functools.partial(jax.lax.dynamic_slice_in_dim, axis=1)
    return [cut(x, i * size, size) for x in arrays]

  return rows // size, chunk


def _loop(steps, body, start):
  """`body` for i = 1 .. steps."""
  return jax.lax.fori_loop(1, steps + 1, body, start) if steps else start
