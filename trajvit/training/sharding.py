"""Where arrays live: the mesh, one table of rules, and batches from hosts.

Models never mention devices. The table maps patterns of parameter paths to
layouts; the compiler derives the rest, communication included.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from trajvit.compat import make_mesh
from trajvit.mesh import BATCH_AXES
from trajvit.training.config import MeshConfig
from trajvit.training.functional import path_name
from trajvit.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Cut:
  """One dimension of a parameter cut along a mesh axis.

  Attributes:
    axis: name of the mesh axis.
    dimension: which one, counted from the end, such as -1: layers of a stack
      are in front. None is the largest that is whole and that the devices
      divide, or none.
  """

  axis: str
  dimension: int | None = None


# A table is a sequence of (pattern, layout), and the first pattern found in the
# path of a parameter gives its layout: a PartitionSpec, or Cuts made one after
# the other.
REPLICATE = ((".*", PartitionSpec()),)
FSDP = ((".*", (Cut("fsdp"),)),)
# Megatron-LM, arXiv:1909.08053: a linear map onto heads or hidden channels is
# cut by columns, the one behind it by rows, so that what is between the two
# stays on its device, and one sum over the devices ends the pair.
TENSOR = (
  (
    r"((query|key|value|inner|gate|up|embed)/(kernel|bias)|text/embedding)$",
    (Cut("tensor", -1), Cut("fsdp")),
  ),
  (
    r"((attention|cross|pool|layers(/\d+)?)/out|outer|mlp/down)/kernel$",
    (Cut("tensor", -2), Cut("fsdp")),
  ),
  *FSDP,
)


def build_mesh(config: MeshConfig, devices: Sequence | None = None) -> Mesh:
  """Returns the mesh with the axes `data`, `fsdp`, `tensor` and `context`.

  Of several slices, which are far from each other, each is a part of `data`:
  only the sums of gradients go between them.

  Args:
    config: how many devices there are along each.
    devices: what it is of, such as those of a topology that is not at hand;
      None is all devices of this run.

  Raises:
    ValueError: the sizes do not multiply to the number of devices, or the
      slices cannot share out `data`.
  """
  sizes = dataclasses.asdict(config)
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  free = [name for name, size in sizes.items() if size == -1]
  fixed = math.prod(size for size in sizes.values() if size != -1)
  if len(free) == 1 and fixed > 0 and count % fixed == 0:
    sizes[free[0]] = count // fixed
  if min(sizes.values()) < 1 or math.prod(sizes.values()) != count:
    given = ", ".join(
      f"{name}={size}" for name, size in dataclasses.asdict(config).items()
    )
    raise ValueError(
      f"config.mesh must multiply to {count} devices, with at most one -1, "
      f"got {given}"
    )
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices == 1:
    return make_mesh(tuple(sizes.values()), tuple(sizes), devices)
  return _over_slices(sizes, slices, devices)


def default_rules(mesh: Mesh) -> tuple:
  """Returns the table that goes with a mesh: no axis is cut along in vain."""
  if mesh.shape["tensor"] > 1:
    return TENSOR
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
  """Returns the layout of a batch: its clips cut along `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def param_shardings(params: dict, mesh: Mesh, rules: tuple) -> dict:
  """Returns the NamedSharding of every parameter.

  Args:
    params: nested dict of arrays or of their shapes.
    mesh: the mesh.
    rules: a table as described at the top of this file.

  Raises:
    ValueError: a rule that decides no parameter, a parameter without one, or a
      dimension that a rule names and the devices do not divide.
  """
  used = set()

  def layout(path, x):
    name = path_name(path)
    for i, (pattern, spec) in enumerate(rules):
      if re.search(pattern, name):
        used.add(i)
        if not isinstance(spec, PartitionSpec):
          spec = _made(spec, name, x.shape, mesh)
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
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    divides = batch.clip.frames.shape[0] % parts == 0
    sharding = shared if divides else everywhere

    def place(x):
      if isinstance(x, jax.core.Tracer):  # the caller compiles us with its own
        return jax.lax.with_sharding_constraint(x, sharding)
      if not isinstance(x, np.ndarray):  # there already
        return x
      return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

    return compiled(variables, jax.tree.map(place, batch))

  return predict


def _is_frozen(x):
  """Whether it stands where a parameter has no moments."""
  return isinstance(x, optax.MaskedNode)


def _made(cuts, name, shape, mesh):
  """The PartitionSpec of a parameter after some Cuts."""
  axes = [None] * len(shape)
  for cut in cuts:
    size = mesh.shape[cut.axis]
    if size == 1:
      continue
    if cut.dimension is None:
      index = _largest(shape, axes, size)
    else:
      index = len(shape) + cut.dimension
      if index < 0 or shape[index] % size:
        raise ValueError(
          f"{size} devices along {cut.axis!r} must divide dimension "
          f"{cut.dimension} of parameter {name}, whose shape is {shape}"
        )
    if index is not None:
      axes[index] = cut.axis
  while axes and axes[-1] is None:
    axes.pop()
  return PartitionSpec(*axes)


def _largest(shape, axes, size):
  """The largest dimension that is whole and that `size` divides, or None."""
  options = [
    (n, -i)
    for i, n in enumerate(shape)
    if n and n % size == 0 and axes[i] is None
  ]
  return -max(options)[1] if options else None


def _over_slices(sizes, slices, devices):
  """The mesh of several slices; between them there is `data` alone."""
  if sizes["data"] % slices:
    raise ValueError(
      f"config.mesh.data must be a multiple of the {slices} slices, "
      f"got {sizes['data']}"
    )
  inside = sizes | {"data": sizes["data"] // slices}
  between = dict.fromkeys(sizes, 1) | {"data": slices}
  grid = create_hybrid_device_mesh(
    tuple(inside.values()),
    tuple(between.values()),
    devices,
    allow_split_physical_axes=True,
  )
  return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
