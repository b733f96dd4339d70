"""Totals over all pairs of two sets, whose matrix is never made.

A loss between all clips and all captions of a batch has B x B terms, of which
only the totals of rows and columns are wanted. Here they are added up tile by
tile. On several devices each has its own rows, B_local of them, and meets all
columns in one of two ways:

- "gathered": every device gets all columns, and goes through them in chunks.
  Its totals of columns then go to the devices whose columns they are.
- "ring": columns go around from device to device, their totals with them. A
  device never holds the columns of two, but waits for its neighbour at every
  turn: for few devices with many rows.

A device thus holds B_local x chunk terms at a time, and B columns or B_local.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

from trajvit.compat import vary
from trajvit.mesh import laid_out, mesh_sizes

METHODS = ("gathered", "ring")


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How devices go through the pairs.

  Attributes:
    method: "gathered" or "ring".
    chunk: columns at a time.
    mesh: over which rows and columns are cut; None is one device.
  """

  method: str
  chunk: int
  mesh: AbstractMesh | None = None

  @classmethod
  def here(cls, method: str, chunk: int) -> "Schedule":
    """Returns the schedule for the mesh in JAX's context.

    Raises:
      ValueError: an unknown method, or a chunk below 1.
    """
    if method not in METHODS:
      raise ValueError(
        f"method must be one of {', '.join(METHODS)}, got {method!r}"
      )
    if chunk < 1:
      raise ValueError(f"chunk must be at least 1, got {chunk}")
    several = mesh_sizes() is not None
    mesh = jax.sharding.get_abstract_mesh() if several else None
    return cls(method, chunk, mesh)

  @property
  def axes(self) -> tuple[str, ...]:
    """The mesh axes that rows are cut along: all."""
    return tuple(n for n, size in self.mesh.shape.items() if size > 1)


@dataclasses.dataclass(frozen=True)
class Total:
  """A total that can be taken in parts.

  Attributes:
    tile: `tile(rows, columns) -> (for rows, for columns)`, two pytrees of
      arrays [R, ...] and [C, ...], of part of the rows and columns. Those that
      are all zeros are padding, and must leave the totals of others alone.
    merge: `merge(a, b)`, the total of two disjoint parts.
    start: the totals of nothing, two pytrees of numbers.
  """

  tile: Callable
  merge: Callable
  start: tuple


def over_pairs(total: Total, rows, columns, schedule: Schedule) -> tuple:
  """Returns the totals of every row and of every column.

  It has no gradient of its own: it makes the forward and the backward pass of
  functions that have one.

  Args:
    total: what to compute.
    rows: pytree of arrays [B, ...].
    columns: pytree of arrays [B, ...].
    schedule: how to go through them.
  """
  if schedule.mesh is None:
    return _chunked(total, rows, columns, schedule.chunk)
  axes, devices = schedule.axes, schedule.mesh.size
  count = len(jax.tree.leaves(rows)[0])
  # First whole embeddings of the clips at hand: the compiler cannot get to what
  # is wanted here from every layout without a detour.
  rows, columns = jax.tree.map(lambda x: laid_out(x, "batch"), (rows, columns))
  rows, columns = _padded((rows, columns), devices)
  run = _gathered if schedule.method == "gathered" else _ring

  def local(rows, columns):
    return run(total, rows, columns, schedule.chunk, axes, devices)

  cut = PartitionSpec(axes)
  found = jax.shard_map(local, mesh=schedule.mesh, in_specs=cut, out_specs=cut)(
    rows, columns
  )
  return jax.tree.map(lambda x: x[:count], found)


def _chunked(total, rows, columns, chunk, axes=(), carried=None):
  """Goes through the columns in chunks, on one device.

  Args:
    total: what to compute.
    rows: arrays [R, ...].
    columns: arrays [C, ...].
    chunk: columns at a time.
    axes: manual mesh axes, along which the totals differ.
    carried: totals of the rows with columns before these.
  """
  count = len(jax.tree.leaves(columns)[0])
  chunk = min(chunk, count)
  parts = jax.tree.map(
    lambda x: x.reshape(-1, chunk, *x.shape[1:]), _padded(columns, chunk)
  )
  if carried is None:
    carried = _start(total, 0, rows, columns, axes)

  def step(carried, part):
    for_rows, for_columns = total.tile(rows, part)
    return total.merge(carried, for_rows), for_columns

  for_rows, for_columns = jax.lax.scan(step, carried, parts)
  for_columns = jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:])[:count], for_columns
  )
  return for_rows, for_columns


def _gathered(total, rows, columns, chunk, axes, devices):
  """All columns on every device; their totals are sent home in the end."""
  every = jax.tree.map(
    lambda x: jax.lax.all_gather(x, axes, tiled=True), columns
  )
  for_rows, parts = _chunked(total, rows, every, chunk, axes)
  # [B, ...] of this device's rows -> [devices, B_local, ...] of its columns
  parts = jax.tree.map(
    lambda x: jax.lax.all_to_all(
      x.reshape(devices, -1, *x.shape[1:]), axes, split_axis=0, concat_axis=0
    ),
    parts,
  )
  start = _start(total, 1, rows, columns, axes)
  for_columns, _ = jax.lax.scan(
    lambda sum_, part: (total.merge(sum_, part), None),
    start,
    parts,
    length=devices,
  )
  return for_rows, for_columns


def _ring(total, rows, columns, chunk, axes, devices):
  """Columns and their totals go around until they are home again."""
  order = [(i, (i + 1) % devices) for i in range(devices)]

  def pass_on(tree):
    return jax.tree.map(lambda x: jax.lax.ppermute(x, axes, order), tree)

  def turn(_, carry):
    for_rows, columns, for_columns = carry
    coming = pass_on(columns)  # while the device works on these
    for_rows, new = _chunked(total, rows, columns, chunk, axes, for_rows)
    return for_rows, coming, pass_on(total.merge(for_columns, new))

  starts = [_start(total, side, rows, columns, axes) for side in (0, 1)]
  carry = starts[0], columns, starts[1]
  for_rows, _, for_columns = jax.lax.fori_loop(0, devices, turn, carry)
  return for_rows, for_columns


def _start(total, side, rows, columns, axes):
  """The totals of nothing, for the rows (side 0) or the columns (side 1)."""
  shapes = jax.eval_shape(total.tile, rows, columns)[side]
  start = jax.tree.map(
    lambda value, x: jnp.full(x.shape, value, x.dtype),
    jax.tree.broadcast(total.start[side], shapes),
    shapes,
  )
  return vary(start, axes)


def _padded(tree, multiple):
  """Arrays [n, ...] with zeros behind, so that `multiple` divides n."""

  def pad(x):
    short = -len(x) % multiple
    return jnp.pad(x, [(0, short)] + [(0, 0)] * (x.ndim - 1))

  return jax.tree.map(pad, tree)
