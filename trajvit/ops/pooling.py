"""Pooling features by track, in memory without any [B, T, M, h, w]."""

import functools

import jax
import jax.numpy as jnp

# Cells of one product with the one-hot labels: [CHUNK, M] is all that exists
# of the masks at a time, for every frame.
CHUNK = 512


def pool_by_track(
  features: jax.Array, tracks: jax.Array, num_tracks: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the mean feature of a track's cells, in every frame.

  Masks [B, T, M, h, w] never exist: the labels are compared and multiplied in
  chunks of cells, forward and backward, so that memory grows with
  T * h * w * D + M * T * D.

  Args:
    features: [B, T, h, w, D].
    tracks: [B, T, s h, s w] int32 in [0, M), or -1: a label map s times as fine
      as the features, s >= 1; a cell then counts by the share that is owned.
    num_tracks: M.

  Returns:
    mean [B, T, M, D] float32, zeros where a track has no cell, and
    area [B, T, M] float32, in cells of `features`.

  Raises:
    ValueError: the label map is not a multiple of the feature grid.
  """
  batch, frames, height, width, dim = features.shape
  scale = tracks.shape[2] // height
  if (
    tracks.shape != (batch, frames, scale * height, scale * width) or not scale
  ):
    raise ValueError(
      f"tracks must be a label map on a multiple of the feature grid "
      f"({batch}, {frames}, {height}, {width}), got {tracks.shape}"
    )
  cells = height * width
  labels = tracks.reshape(batch * frames, height, scale, width, scale)
  labels = labels.transpose(0, 1, 3, 2, 4).reshape(-1, cells, scale * scale)
  flat = features.reshape(batch * frames, cells, dim)
  total = _sum_by_label(num_tracks, flat, labels)  # [B T, M, D]
  area = _areas(num_tracks, labels)  # [B T, M]
  mean = total / jnp.maximum(area, 1.0 / scale**2)[..., None]
  shape = (batch, frames, num_tracks)
  return mean.reshape(*shape, dim), area.reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_by_label(num_tracks, features, labels):
  """[F, P, D] and [F, P, s s] labels -> [F, M, D], sums by owned share."""

  def add(total, chunk):
    feature, label = chunk
    share = _shares(label, num_tracks)  # [F, chunk, M]
    return total + jnp.einsum(
      "fpm,fpd->fmd", share, feature, preferred_element_type=jnp.float32
    ), None

  frames, _, dim = features.shape
  start = jnp.zeros((frames, num_tracks, dim), jnp.float32)
  chunks = (_chunks(features, 0), _chunks(labels, -1))
  if chunks[0].shape[0] == 1:
    return add(start, jax.tree.map(lambda x: x[0], chunks))[0]
  return jax.lax.scan(add, start, chunks)[0]


def _forward(num_tracks, features, labels):
  total = _sum_by_label(num_tracks, features, labels)
  # An empty array carries the dtype; the gradient needs the labels alone.
  return total, (labels, jnp.zeros((0,), features.dtype))


def _backward(num_tracks, saved, grad):
  labels, like = saved

  def spread(_, label):
    share = _shares(label, num_tracks)
    return None, jnp.einsum("fpm,fmd->fpd", share, grad).astype(like.dtype)

  chunks = _chunks(labels, -1)
  if chunks.shape[0] == 1:
    return spread(None, chunks[0])[1], None
  _, grads = jax.lax.scan(spread, None, chunks)  # [chunks, F, chunk, D]
  grads = jnp.moveaxis(grads, 0, 1).reshape(labels.shape[0], -1, grad.shape[-1])
  return grads[:, : labels.shape[1]], None


_sum_by_label.defvjp(_forward, _backward)


def _shares(labels, num_tracks):
  """[F, P, s s] -> [F, P, M] float32, the share of a cell a track owns."""
  # Summed one sub-cell at a time: [F, P, s s, M] would be s s times as large.
  steps = range(labels.shape[-1])
  hot = (jax.nn.one_hot(labels[..., i], num_tracks) for i in steps)
  return functools.reduce(jnp.add, hot) / labels.shape[-1]


def _areas(num_tracks, labels):
  """[F, P, s s] -> [F, M] float32, in cells."""
  owned = labels[..., None] == jnp.arange(num_tracks)
  return owned.sum((1, 2)).astype(jnp.float32) / labels.shape[-1]


def _chunks(x, fill):
  """[F, P, ...] -> [chunks, F, size, ...], the last filled with `fill`."""
  frames, cells = x.shape[:2]
  size = min(CHUNK, cells)
  count = -(-cells // size)
  spare = [(0, 0)] * x.ndim
  spare[1] = (0, count * size - cells)
  x = jnp.pad(x, spare, constant_values=fill)
  return jnp.moveaxis(x.reshape(frames, count, size, *x.shape[2:]), 1, 0)
