"""FLOPs of matrix products and convolutions, counted from the jaxpr.

XLA's own cost analysis counts the body of a scan once, however long the scan,
and a Pallas kernel as nothing. The jaxpr says how often a body runs, before any
compiler has touched it, so the count is the same on every machine.
"""

import dataclasses
import math

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval


@dataclasses.dataclass(frozen=True)
class FlopCount:
  """What one call of a function costs, on all devices together.

  A multiplication and an addition are two FLOPs. Elementwise operations,
  reductions and gathers count as nothing: they are bound by memory.

  Attributes:
    dots: FLOPs of matrix products.
    convs: FLOPs of convolutions. Products with padding count, as in papers;
      those with the zeros that a transposed convolution inserts do not.
    pallas: FLOPs that Pallas kernels declare in their `cost_estimate`.
    unbounded_loops: loops with FLOPs but without a known number of trips, each
      counted as one trip.
    unknown_calls: calls whose FLOPs cannot be told and are left out.
  """

  dots: int = 0
  convs: int = 0
  pallas: int = 0
  unbounded_loops: int = 0
  unknown_calls: int = 0

  @property
  def total(self) -> int:
    """All FLOPs; the whole truth where nothing is unbounded or unknown."""
    return self.dots + self.convs + self.pallas

  def __add__(self, other: "FlopCount") -> "FlopCount":
    pairs = zip(_values(self), _values(other), strict=True)
    return FlopCount(*(a + b for a, b in pairs))

  def __mul__(self, times: int) -> "FlopCount":
    return FlopCount(*(times * a for a in _values(self)))


def count_flops(function, *args) -> FlopCount:
  """Returns the FLOPs of `function(*args)`, without running it.

  What the result does not depend on is left out first, so that
  `lambda v, b: predict(v, b)["video_embedding"]` costs no text tower. A `cond`
  costs its dearest branch, a choice by platform the branch of this platform, a
  rematerialised block what it computes again.

  Args:
    function: can be traced by jax; jitted or not.
    *args: pytrees of arrays or of `jax.ShapeDtypeStruct`.
  """
  return count_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def count_jaxpr(jaxpr, platform: str | None = None) -> FlopCount:
  """Returns the FLOPs of what has been traced, see `count_flops`.

  Args:
    jaxpr: such as `traced.jaxpr.jaxpr`.
    platform: whose branch a choice by platform takes, such as "tpu"; None is
      that of this process.
  """
  names = _platform_names() if platform is None else frozenset([platform])
  return _count(_without_dead_code(jaxpr)[0], names)


def used_arguments(function, *args):
  """Returns `args` with True for every array that the result depends on."""
  used = _without_dead_code(jax.make_jaxpr(function)(*args).jaxpr)[1]
  return jax.tree.unflatten(jax.tree.structure(args), used)


def _without_dead_code(jaxpr):
  """The jaxpr without dead code, and which of its inputs it still reads."""
  return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))


def _values(count):
  return [getattr(count, field.name) for field in dataclasses.fields(count)]


def _count(jaxpr, platforms) -> FlopCount:
  total = FlopCount()
  for eqn in jaxpr.eqns:
    total += _RULES.get(eqn.primitive.name, _other)(eqn, platforms)
  return total


def _inside(eqn, platforms) -> FlopCount:
  """The cost of everything the equation holds, each called once."""
  counts = [_count(each, platforms) for each in jaxprs_in_params(eqn.params)]
  return sum(counts, FlopCount())


def _other(eqn, platforms):
  """Nothing, unless it holds something dear: who knows how often that runs."""
  return FlopCount(unknown_calls=int(_inside(eqn, platforms) != FlopCount()))


def _unknown(eqn, platforms):
  del eqn, platforms
  return FlopCount(unknown_calls=1)


def _dot(eqn, platforms):
  del platforms
  (contracted, _), _ = eqn.params["dimension_numbers"]
  depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
  return FlopCount(dots=2 * depth * math.prod(eqn.outvars[0].aval.shape))


def _conv(eqn, platforms):
  del platforms
  kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
  params = eqn.params
  numbers = params["dimension_numbers"]
  # Groups of features or of the batch need no case of their own: the kernel is
  # as deep as one group, and the output has the rows and features of all.
  depth = kernel[numbers.rhs_spec[1]]
  products = depth * math.prod(out[axis] for axis in numbers.out_spec[:2])
  for i, (low, _) in enumerate(params["padding"]):
    # Where each tap of the kernel meets the input, holes included.
    places = (
      np.arange(out[numbers.out_spec[2 + i]])[:, None]
      * params["window_strides"][i]
      + np.arange(kernel[numbers.rhs_spec[2 + i]]) * params["rhs_dilation"][i]
      - low
    )
    products *= int(np.sum(places % params["lhs_dilation"][i] == 0))
  return FlopCount(convs=2 * products)


def _scan(eqn, platforms):
  return _inside(eqn, platforms) * eqn.params["length"]


def _while(eqn, platforms):
  count = _inside(eqn, platforms)
  return count + FlopCount(unbounded_loops=int(count != FlopCount()))


def _cond(eqn, platforms):
  branches = [
    _count(branch.jaxpr, platforms) for branch in eqn.params["branches"]
  ]
  accepted = eqn.params.get("branches_platforms")
  if accepted is not None:
    return branches[_platform_branch(accepted, platforms)]
  return dataclasses.replace(
    max(branches, key=lambda branch: branch.total),
    unbounded_loops=max(branch.unbounded_loops for branch in branches),
    unknown_calls=max(branch.unknown_calls for branch in branches),
  )


def _platform_names() -> frozenset[str]:
  """What JAX calls the platform of this process."""
  backend = jax.default_backend()
  others = {"cuda", "rocm"} if backend == "gpu" else ()
  return frozenset([backend, *others])


def _platform_branch(branches, platforms) -> int:
  """The branch that `jax.lax.platform_dependent` takes; None is any."""
  for i, accepted in enumerate(branches):
    if accepted is None or platforms & set(accepted):
      return i
  raise ValueError(
    f"no branch for {' or '.join(sorted(platforms))}, only for {branches}"
  )


def _shard_map(eqn, platforms):
  mesh, axes = eqn.params["mesh"], eqn.params["newly_manual_axes"]
  return _inside(eqn, platforms) * math.prod(mesh.shape[axis] for axis in axes)


def _pallas(eqn, platforms):
  del platforms
  estimate = eqn.params["cost_estimate"]
  if estimate is None:
    return FlopCount(unknown_calls=1)
  return FlopCount(pallas=int(estimate.flops))


# Calls their jaxpr once.
_CALLS = {
  "call",
  "checkpoint",
  "closed_call",
  "composite",
  "core_call",
  "custom_jvp_call",
  "custom_partitioning",
  "custom_vjp_call",
  "custom_vjp_call_jaxpr",
  "eval_jaxpr",
  "jit",
  "pjit",
  "remat2",
  "xla_metadata_call",
}

# Have FLOPs, and neither a jaxpr nor a formula here that would tell them.
_OPAQUE = {
  "cholesky",
  "core_map",
  "cudnn_fusion",
  "dot_product_attention_bwd_wrapper",
  "dot_product_attention_fp8_bwd_wrapper",
  "dot_product_attention_fp8_fwd_wrapper",
  "dot_product_attention_fwd_wrapper",
  "eigh",
  "ffi_call",
  "fft",
  "io_callback",
  "lu",
  "mpmd_map",
  "pure_callback",
  "qr",
  "ragged_dot_general",
  "remat_opt",
  "scaled_dot",
  "scaled_matmul_wrapper",
  "svd",
  "triangular_solve",
  "triton_kernel_call",
}

_RULES = {
  **dict.fromkeys(_CALLS, _inside),
  **dict.fromkeys(_OPAQUE, _unknown),
  "dot_general": _dot,
  "conv_general_dilated": _conv,
  "scan": _scan,
  "while": _while,
  "cond": _cond,
  "shard_map": _shard_map,
  "pallas_call": _pallas,
}
