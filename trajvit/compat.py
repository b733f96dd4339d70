"""What differs between the supported versions of jax, and nothing else."""

import jax
from jax.sharding import AxisType, Mesh


def make_mesh(shape: tuple[int, ...], names: tuple[str, ...]) -> Mesh:
  """Returns a mesh with Auto axes over all devices (0.10+ default Explicit)."""
  return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))
