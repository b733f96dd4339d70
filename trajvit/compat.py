"""What differs between the supported versions of jax, and nothing else."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh


def make_mesh(
  shape: tuple[int, ...],
  names: tuple[str, ...],
  devices: Sequence | None = None,
) -> Mesh:
  """Returns a mesh with Auto axes (0.10+ default Explicit).

  Args:
    shape: how many devices there are along each axis.
    names: of the axes.
    devices: what it is of; None is all devices of this run.
  """
  types = (AxisType.Auto,) * len(names)
  return jax.make_mesh(shape, names, axis_types=types, devices=devices)


def struct_like(
  shape: tuple[int, ...], dtype: jax.typing.DTypeLike, *arrays: jax.Array
) -> jax.ShapeDtypeStruct:
  """Returns the type of what a kernel makes of `arrays`.

  Inside `shard_map` it varies over the mesh axes that any of them varies over,
  which `check_vma` asks of the outputs of a `pallas_call`.
  """
  types = [jax.typeof(array).manual_axis_type for array in arrays]
  varying = frozenset().union(*(each.varying for each in types))
  manual = types[0].update(varying=varying)
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=manual)


def vary(tree, axes: tuple[str, ...]):
  """Returns arrays marked as differing between devices along manual mesh axes.

  Inside `jax.shard_map` alone: the carry of a loop, say, must be marked as what
  the loop makes of it.

  Args:
    tree: pytree of arrays.
    axes: names of mesh axes that are manual where this is traced.
  """

  def mark(x):
    known = jax.typeof(x).manual_axis_type.varying
    new = tuple(axis for axis in axes if axis not in known)
    return jax.lax.pcast(x, new, to="varying") if new else x

  return jax.tree.map(mark, tree)


def coordination_service() -> tuple | None:
  """Returns what processes found each other by, or None in a run of one.

  JAX has no public name for it.

  Returns:
    The client, with `key_value_set` and `key_value_try_get`, and the number of
    this process, which is known before any device is.
  """
  from jax._src.distributed import global_state  # noqa: PLC0415

  if global_state.client is None:
    return None
  return global_state.client, global_state.process_id
