"""Primitives of JAX, written by other primitives that converters know.

Each takes what the primitive takes and returns the same values: nothing is
rounded another way. What they are needed for is said where they are.
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from trajvit.export.rows import ROWS


def _stack(*arrays, axis):
  """Converters do not know it yet."""
  return lax.concatenate([lax.expand_dims(x, (axis,)) for x in arrays], axis)


def _pad(x, value, *, padding_config):
  """jax2onnx fails where another axis has no fixed size."""
  if any(interior for *_, interior in padding_config):
    return lax.pad(x, value, padding_config)
  for axis, (low, high, _) in enumerate(padding_config):
    if low < 0 or high < 0:
      stop = x.shape[axis] + min(high, 0)
      x = lax.slice_in_dim(x, max(-low, 0), stop, axis=axis)
    before, after = (
      [] if size <= 0 else [_filled(x, value, size, axis)]
      for size in (low, high)
    )
    if before or after:
      x = lax.concatenate([*before, x, *after], axis)
  return x


def _filled(x, value, size, axis):
  """`size` rows of `value` along an axis of `x`."""
  shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
  return lax.broadcast(jnp.asarray(value, x.dtype), shape)


def _clamp(low, x, high):
  """jax2onnx fails where an axis has no fixed size."""
  return lax.min(lax.max(x, _like(low, x)), _like(high, x))


def _like(value, x):
  return value if value.shape == x.shape else lax.broadcast(value, x.shape)


def _rem(x, y):
  """Likewise. Integers alone: a division of floats would round."""
  if jnp.issubdtype(x.dtype, jnp.inexact):
    return lax.rem(x, y)
  return lax.sub(x, lax.mul(lax.div(x, y), y))


def _cumulative(best):
  """The running maximum or minimum by doubling: ONNX has none of integers."""

  def run(x, *, axis, reverse):
    size, step = x.shape[axis], 1
    while step < size:
      near = lax.slice_in_dim(x, 0, step, axis=axis)
      far = [lax.slice_in_dim(x, step, size, axis=axis)]
      far.append(lax.slice_in_dim(x, 0, size - step, axis=axis))
      if reverse:
        near = lax.slice_in_dim(x, size - step, size, axis=axis)
        x = lax.concatenate([best(*far), near], axis)
      else:
        x = lax.concatenate([near, best(*far)], axis)
      step *= 2
    return x

  return run


def _window_max(
  x,
  *,
  window_dimensions,
  window_strides,
  padding,
  base_dilation,
  window_dilation,
):
  """jax2onnx pools over all axes at once, which no runtime does."""
  if math.prod(base_dilation) != 1:
    raise NotImplementedError("base dilation")
  pads = [(low, high, 0) for low, high in padding]
  lowest = np.asarray(-np.inf, x.dtype)
  x = _pad(x, lowest, padding_config=pads)
  for axis, size in enumerate(window_dimensions):
    stride, dilation = window_strides[axis], window_dilation[axis]
    if size == stride == 1:
      continue
    last = x.shape[axis] - (size - 1) * dilation
    parts = [
      lax.slice_in_dim(x, at, at + last, stride, axis)
      for at in range(0, size * dilation, dilation)
    ]
    x = _joined(lax.max, parts)
  return x


def _joined(operation, parts):
  *_, last = itertools.accumulate(parts, operation)
  return last


def _select(which, *cases):
  """ONNX Runtime chooses among numbers alone."""
  if cases[0].dtype != jnp.bool_:
    return lax.select_n(which, *cases)
  if which.dtype != jnp.bool_:
    raise NotImplementedError("a choice of several booleans")
  which, (no, yes) = _like(which, cases[0]), cases
  return (which & yes) | (~which & no)


def _same(x, **_):
  return x


EQUIVALENTS = {
  "clamp": _clamp,
  "copy": _same,
  "copy_p": _same,
  "cummax": _cumulative(lax.max),
  "cummin": _cumulative(lax.min),
  "pad": _pad,
  "reduce_window_max": _window_max,
  "rem": _rem,
  **ROWS,
  "select_n": _select,
  "stack": _stack,
  "stop_gradient": _same,
}
