"""The mesh in JAX's context: what its axes cut, and how arrays are to lie.

The one place that knows what mesh axes are for. The mesh is that of
`jax.set_mesh` or `jax.sharding.use_abstract_mesh`. Without one, on one device,
and inside a `jax.shard_map` of the caller, nothing here does anything.
"""

import math

import jax
from jax.sharding import NamedSharding, PartitionSpec

# The axes along which clips, heads and tokens are cut.
BATCH_AXES = ("data", "fsdp")
HEAD_AXIS = "tensor"
SEQUENCE_AXIS = "context"

_AXES = {
  "batch": BATCH_AXES,
  "heads": (HEAD_AXIS,),
  "tokens": (SEQUENCE_AXIS,),
}


def mesh_sizes() -> dict[str, int] | None:
  """Returns the sizes of the mesh axes by name, None where there is no mesh."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.manual_axes or mesh.size == 1:
    return None
  return dict(mesh.shape)


def tokens_are_cut() -> bool:
  """Returns whether several devices share out the tokens of a clip."""
  return (mesh_sizes() or {}).get(SEQUENCE_AXIS, 1) > 1


def laid_out(x: jax.Array, *names: str | None) -> jax.Array:
  """Returns `x`, which the compiler is told how to lay out.

  Clips and heads are cut where the devices divide them, and tokens where there
  is one for each device; what cannot be cut is left to the compiler.

  Args:
    x: any array.
    names: of its dimensions, "batch", "heads" or "tokens"; None and dimensions
      that are not named are whole on every device.

  Raises:
    KeyError: another name.
  """
  sizes = mesh_sizes()
  if sizes is None:
    return x

  def cut(name, length):
    if name is None:
      return None
    axes = tuple(axis for axis in _AXES[name] if sizes.get(axis, 1) > 1)
    devices = math.prod(sizes[axis] for axis in axes)
    uneven = name == "tokens" and length >= devices
    fits = length % devices == 0 or uneven
    return axes if fits else PartitionSpec.UNCONSTRAINED

  spec = PartitionSpec(*map(cut, names, x.shape))
  mesh = jax.sharding.get_abstract_mesh()
  return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def at_block_edge(tree):
  """Returns arrays [B, N, D] or [B, ...] laid out as between two blocks.

  Clips are cut, and tokens of arrays with three dimensions; channels are whole.
  Arrays with fewer than two dimensions stay as they are.
  """

  def lay(x):
    if x.ndim < 2:
      return x
    return laid_out(x, "batch", "tokens" if x.ndim == 3 else None)

  return jax.tree.map(lay, tree)
