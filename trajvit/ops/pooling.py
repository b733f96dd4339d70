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
  # [B T, M, D] and [B T, M]
  total, area = _sum_by_label(num_tracks, flat, labels)
  mean = total / jnp.maximum(area, 1.0 / scale**2)[..., None]
  shape = (batch, frames, num_tracks)
  return mean.reshape(*shape, dim), area.reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_by_label(num_tracks, features, labels):
  """[F, P, D] and [F, P, s s] labels -> sums [F, M, D] and areas [F, M]."""

  def add(sums, chunk):
    feature, label = chunk
    share = _shares(label, num_tracks)  # [F, chunk, M]
    total = jnp.einsum(
      "fpm,fpd->fmd", share, feature, preferred_element_type=jnp.float32
    )
    return (sums[0] + total, sums[1] + share.sum(1)), None

  frames, _, dim = features.shape
  start = (
    jnp.zeros((frames, num_tracks, dim), jnp.float32),
    jnp.zeros((frames, num_tracks), jnp.float32),
  )
  return _over_chunks(add, start, (_chunks(features, 0), _chunks(labels, -1)))[
    0
  ]


def _forward(num_tracks, features, labels):
  # An empty array carries the dtype; the gradient needs the labels alone.
  like = jnp.zeros((0,), features.dtype)
  return _sum_by_label(num_tracks, features, labels), (labels, like)


def _backward(num_tracks, saved, grads):
  labels, like = saved
  grad = grads[0]  # the areas do not depend on the features

  def spread(_, label):
    share = _shares(label, num_tracks)
    return None, jnp.einsum("fpm,fmd->fpd", share, grad).astype(like.dtype)

  spreads = _over_chunks(spread, None, _chunks(labels, -1))[1]
  spreads = jnp.moveaxis(spreads, 0, 1)  # [F, chunks, size, D]
  spreads = spreads.reshape(labels.shape[0], -1, grad.shape[-1])
  return spreads[:, : labels.shape[1]], None


_sum_by_label.defvjp(_forward, _backward)


def _shares(labels, num_tracks):
  """[F, P, s s] -> [F, P, M] float32, the share of a cell a track owns."""
  # Summed one sub-cell at a time: [F, P, s s, M] would be s s times as large.
  steps = range(labels.shape[-1])
  hot = (jax.nn.one_hot(labels[..., i], num_tracks) for i in steps)
  return functools.reduce(jnp.add, hot) / labels.shape[-1]


def _over_chunks(body, start, chunks):
  """A scan, without its loop where there is one chunk."""
  count = jax.tree.leaves(chunks)[0].shape[0]
  return jax.lax.scan(body, start, chunks, unroll=count == 1)


def _chunks(x, fill):
  """[F, P, ...] -> [chunks, F, size, ...], the last filled with `fill`."""
  frames, cells = x.shape[:2]
  size = min(CHUNK, cells)
  count = -(-cells // size)
  spare = [(0, 0)] * x.ndim
  spare[1] = (0, count * size - cells)
  x = jnp.pad(x, spare, constant_values=fill)
  return jnp.moveaxis(x.reshape(frames, count, size, *x.shape[2:]), 1, 0)
