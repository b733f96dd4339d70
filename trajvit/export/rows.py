"""Gathers and scatters of JAX, written as those of whole rows.

jax2onnx knows some of the forms that they may have, and takes others for them.
Here all leading axes are one, up to the last that is indexed: a row has one
number, and what is behind it is read or written whole.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import lax

FIRST = (0,)  # the axis of the rows
UNCHECKED = lax.GatherScatterMode.PROMISE_IN_BOUNDS
SCATTERS = (
  lax.scatter_p,
  lax.scatter_add_p,
  lax.scatter_max_p,
  lax.scatter_min_p,
  lax.scatter_mul_p,
)


@dataclasses.dataclass(frozen=True)
class _Windows:
  """Windows of an array x, and where they are in another, y.

  Attributes:
    sizes: of a window, along the axes of x.
    axes: of y, that go through a window.
    flat: axes of x along which a window is 1 and y has no axis.
    batched: axes of x along which a window is 1 and the indices have an axis,
      `index_batched`, whose number is its place.
    indexed: axes of x of whose places the indices tell, in this order.
  """

  sizes: tuple
  axes: tuple
  flat: tuple
  batched: tuple
  index_batched: tuple
  indexed: tuple

  def whole(self, x, y) -> int:
    """Returns how many of the last axes of x are in windows whole."""
    count = 0
    while count < min(x.ndim, len(y)):
      axis, own = x.ndim - 1 - count, len(y) - 1 - count
      if self.sizes[axis] != x.shape[axis] or own not in self.axes:
        break
      if axis in (*self.flat, *self.batched, *self.indexed):
        break
      count += 1
    return count

  def places(self, x, indices, shape, *, moved) -> tuple:
    """Returns the rows that y is of, and whether they are inside x.

    Args:
      x: its leading axes, up to the whole ones, are those of the rows.
      indices: where windows start.
      shape: of y without the axes that are whole.
      moved: whether windows that are not inside are moved there.

    Returns:
      int32 and, if they were not moved, bool, of that shape.
    """
    rows, inside = np.int32(0), np.True_
    whole = sum(i >= len(shape) for i in self.axes)
    for axis in range(x.ndim - whole):
      within = self._within(axis, shape)
      rows = rows * _number(x.shape[axis]) + within if axis else within
      if axis in self.indexed:
        start = self._start(axis, indices, shape)
        last = _number(x.shape[axis] - self.sizes[axis])
        if moved:
          start = jnp.maximum(jnp.minimum(start, last), 0)
        else:
          inside &= (start >= 0) & (start <= last)
        rows += start
    return _filled(rows, shape), _filled(inside, shape)

  def _within(self, axis, shape):
    """The place of y along an axis, as far as no index tells."""
    if axis in self.batched:
      spread = [i for i in range(len(shape)) if i not in self.axes]
      own = spread[self.index_batched[self.batched.index(axis)]]
    elif axis in self.flat:
      return np.int32(0)
    else:
      before = sum(i in (*self.flat, *self.batched) for i in range(axis))
      own = self.axes[axis - before]
    return lax.broadcasted_iota(np.int32, shape, own)

  def _start(self, axis, indices, shape):
    """Where the indices say that windows start along an axis."""
    number = self.indexed.index(axis)
    index = lax.index_in_dim(indices, number, axis=-1, keepdims=False)
    spread = [i for i in range(len(shape)) if i not in self.axes]
    return lax.broadcast_in_dim(index.astype(np.int32), shape, spread)


def _number(size):
  """A size, which may be symbolic, as an array."""
  return np.int32(size) if isinstance(size, int) else jnp.int32(size)


def _filled(x, shape):
  """`x`, which is of a shape or a number, of that shape."""
  return x if np.shape(x) == shape else lax.full(shape, x)


def _gather(
  x, indices, *, dimension_numbers, slice_sizes, mode, fill_value, **_
):
  windows = _Windows(
    sizes=slice_sizes,
    axes=dimension_numbers.offset_dims,
    flat=dimension_numbers.collapsed_slice_dims,
    batched=dimension_numbers.operand_batching_dims,
    index_batched=dimension_numbers.start_indices_batching_dims,
    indexed=dimension_numbers.start_index_map,
  )
  shape = _gathered(indices, windows)
  whole = windows.whole(x, shape)
  lead, kept = shape[: len(shape) - whole], x.shape[x.ndim - whole :]
  # XLA clips also what is promised to be inside, and some rely on that.
  filled = mode == lax.GatherScatterMode.FILL_OR_DROP
  places, inside = windows.places(x, indices, lead, moved=not filled)
  if filled:
    places = lax.select(inside, places, _filled(np.int32(0), lead))
  found = lax.gather(
    x.reshape(-1, *kept),
    lax.expand_dims(places, (len(lead),)),
    lax.GatherDimensionNumbers(
      offset_dims=tuple(range(len(lead), len(shape))),
      collapsed_slice_dims=FIRST,
      start_index_map=FIRST,
    ),
    slice_sizes=(1, *kept),
    mode=UNCHECKED,
  )
  if not filled:
    return found
  fill = lax.full(shape, _outside(x.dtype, fill_value), x.dtype)
  inside = lax.broadcast_in_dim(inside, shape, range(len(lead)))
  return lax.select(inside, found, fill)


def _gathered(indices, windows) -> tuple:
  """The shape of what is gathered."""
  left = {*windows.flat, *windows.batched}
  sizes = [n for axis, n in enumerate(windows.sizes) if axis not in left]
  shape = list(indices.shape[:-1])
  for axis, size in zip(windows.axes, sizes, strict=True):
    shape.insert(axis, size)
  return tuple(shape)


def _outside(dtype, value):
  """What is read outside: as `jax.numpy.take` has it."""
  if value is not None:
    return value
  if dtype == np.bool_:
    return True
  if np.issubdtype(dtype, np.floating):
    return np.nan
  limits = np.iinfo(dtype)
  return limits.min if np.issubdtype(dtype, np.signedinteger) else limits.max


def _scatter(primitive):
  """A scatter; what falls outside goes to a row in front, cut off again."""

  def run(x, indices, updates, *, dimension_numbers, mode, **params):
    inserted = dimension_numbers.inserted_window_dims
    batched = dimension_numbers.operand_batching_dims
    axes = dimension_numbers.update_window_dims
    own = iter(axes)
    windows = _Windows(
      sizes=tuple(
        1 if i in (*inserted, *batched) else updates.shape[next(own)]
        for i in range(x.ndim)
      ),
      axes=axes,
      flat=inserted,
      batched=batched,
      index_batched=dimension_numbers.scatter_indices_batching_dims,
      indexed=dimension_numbers.scatter_dims_to_operand_dims,
    )
    whole = windows.whole(x, updates.shape)
    lead = updates.shape[: updates.ndim - whole]
    kept = x.shape[x.ndim - whole :]
    clip = mode == lax.GatherScatterMode.CLIP
    places, inside = windows.places(x, indices, lead, moved=clip)
    places = lax.select(inside, places + 1, _filled(np.int32(0), lead))
    front = lax.full((1, *kept), 0, x.dtype)
    found = primitive.bind(
      lax.concatenate([front, x.reshape(-1, *kept)], 0),
      places.reshape(-1, 1),
      updates.reshape(-1, *kept),
      dimension_numbers=lax.ScatterDimensionNumbers(
        update_window_dims=tuple(range(1, whole + 1)),
        inserted_window_dims=FIRST,
        scatter_dims_to_operand_dims=FIRST,
      ),
      mode=UNCHECKED,
      **params | {"indices_are_sorted": False, "unique_indices": False},
    )
    return found[1:].reshape(x.shape)

  return run


ROWS = {"gather": _gather, **{p.name: _scatter(p) for p in SCATTERS}}
