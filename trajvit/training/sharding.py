"""Where arrays live: the mesh, one table of rules, and batches from hosts.

Models never mention devices. The table maps patterns of parameter paths to
layouts; the compiler derives the rest, communication included.
"""

import functools
import re
from collections.abc import Callable

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trajvit.compat import make_mesh
from trajvit.training.config import MeshConfig
from trajvit.training.functional import path_name
from trajvit.training.state import TrainState

# A table is a sequence of (pattern, layout), and the first pattern found in the
# path of a parameter gives its layout: a PartitionSpec, or the name of a mesh
# axis, along which the largest dimension that it divides is cut.
REPLICATE = ((".*", PartitionSpec()),)
FSDP = ((".*", "fsdp"),)


def build_mesh(config: MeshConfig) -> Mesh:
  """Returns the mesh over all devices with the axes `data` and `fsdp`.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  sizes = {"data": config.data, "fsdp": config.fsdp}
  devices = jax.device_count()
  free = [name for name, size in sizes.items() if size == -1]
  fixed = int(np.prod([size for size in sizes.values() if size != -1]))
  if len(free) == 1 and fixed > 0 and devices % fixed == 0:
    sizes[free[0]] = devices // fixed
  if min(sizes.values()) < 1 or sizes["data"] * sizes["fsdp"] != devices:
    raise ValueError(
      f"config.mesh must multiply to {devices} devices, with at most one -1, "
      f"got data={config.data}, fsdp={config.fsdp}"
    )
  return make_mesh(tuple(sizes.values()), tuple(sizes))


def default_rules(mesh: Mesh) -> tuple:
  """Returns the table that goes with a mesh: FSDP where it has such devices."""
  return FSDP if mesh.shape["fsdp"] > 1 else REPLICATE


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
  """Returns the function with the mesh in JAX's context while it is traced.

  What cannot be left to the compiler, such as an attention kernel, finds out
  there how arrays are laid out, and models need not pass it on. The compiled
  function must have its arguments or results on the mesh.

  Args:
    function: to be compiled by the caller.
    mesh: the mesh.
  """

  @functools.wraps(function)
  def traced(*args, **kwargs):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return function(*args, **kwargs)

  return traced


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the layout with a copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the layout of a batch: its clips shared out over all devices."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def param_shardings(params: dict, mesh: Mesh, rules: tuple) -> dict:
  """Returns the NamedSharding of every parameter.

  Args:
    params: nested dict of arrays or of their shapes.
    mesh: the mesh.
    rules: a table as described at the top of this file.

  Raises:
    ValueError: a rule that decides no parameter, or a parameter without one.
  """
  used = set()

  def layout(path, x):
    name = path_name(path)
    for i, (pattern, spec) in enumerate(rules):
      if re.search(pattern, name):
        used.add(i)
        if isinstance(spec, str):
          spec = _cut_largest(x.shape, spec, mesh.shape[spec])
        return NamedSharding(mesh, spec)
    raise ValueError(f"no sharding rule matches parameter {name}")

  shardings = jax.tree_util.tree_map_with_path(layout, params)
  unused = [rules[i][0] for i in range(len(rules)) if i not in used]
  if unused:
    raise ValueError(f"sharding rules that match no parameter: {unused}")
  return shardings


def state_shardings(
  state: TrainState,
  mesh: Mesh,
  rules: tuple,
  tx: optax.GradientTransformation,
) -> TrainState:
  """Returns the shardings of a state, in the shape of a state.

  Moments and the moving average lie as their parameters do; counters and
  running statistics are copied.

  Args:
    state: the state or its shapes.
    mesh: the mesh.
    rules: see `param_shardings`.
    tx: the optimizer, which knows what in its state mirrors the parameters.
  """
  params = param_shardings(state.params, mesh, rules)
  everywhere = replicated(mesh)
  return TrainState(
    step=everywhere,
    params=params,
    batch_stats=jax.tree.map(lambda _: everywhere, state.batch_stats),
    opt_state=optax.tree_map_params(
      tx,
      lambda x, sharding: x if _is_frozen(x) else sharding,
      state.opt_state,
      params,
      transform_non_params=lambda _: everywhere,
      is_leaf=_is_frozen,
    ),
    ema=None if state.ema is None else params,
    halted=everywhere,
  )


def to_global(batch, sharding: NamedSharding):
  """Returns a batch on the devices, from what each process has of it.

  Args:
    batch: pytree of NumPy arrays, this process's rows of the global batch.
    sharding: of the leading axis.
  """
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), batch
  )


def make_predict(apply, mesh: Mesh):
  """Returns `predict(variables, batch) -> outputs` for evaluators.

  Args:
    apply: of the model.
    mesh: the mesh that the variables live on.

  Returns:
    A compiled function of batches that every process holds in whole. Its
    outputs are copied to all devices, so that any process can read them. A
    batch that the devices cannot share out equally runs whole on each.
  """
  everywhere, shared = replicated(mesh), batch_sharding(mesh)
  compiled = jax.jit(
    on_mesh(lambda variables, batch: apply(variables, batch), mesh),
    out_shardings=everywhere,
  )

  def predict(variables, batch):
    divides = batch.clip.frames.shape[0] % mesh.size == 0
    sharding = shared if divides else everywhere

    def place(x):
      if not isinstance(x, np.ndarray):  # being traced, or there already
        return x
      return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

    return compiled(variables, jax.tree.map(place, batch))

  return predict


def _is_frozen(x):
  """Whether it stands where a parameter has no moments."""
  return isinstance(x, optax.MaskedNode)


def _cut_largest(shape, axis, size):
  """Cuts the largest dimension that `size` divides, or none."""
  options = [(n, -i) for i, n in enumerate(shape) if n % size == 0 and n]
  if not options:
    return PartitionSpec()
  index = -max(options)[1]
  return PartitionSpec(*[None] * index, axis)
