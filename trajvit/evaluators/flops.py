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
  return _count(_live(function, args)[0])


def used_arguments(function, *args):
  """Returns `args` with True for every array that the result depends on."""
  used = _live(function, args)[1]
  return jax.tree.unflatten(jax.tree.structure(args), used)


def _live(function, args):
  """The jaxpr without dead code, and which of its inputs it still reads."""
  jaxpr = jax.make_jaxpr(function)(*args).jaxpr
  return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))


def _values(count):
  return [getattr(count, field.name) for field in dataclasses.fields(count)]


def _count(jaxpr) -> FlopCount:
  total = FlopCount()
  for eqn in jaxpr.eqns:
    total += _RULES.get(eqn.primitive.name, _other)(eqn)
  return total


def _inside(eqn) -> FlopCount:
  """The cost of everything the equation holds, each called once."""
  return sum(map(_count, jaxprs_in_params(eqn.params)), FlopCount())


def _other(eqn):
  """Nothing, unless it holds something dear: who knows how often that runs."""
  return FlopCount(unknown_calls=int(_inside(eqn) != FlopCount()))


def _unknown(eqn):
  del eqn
  return FlopCount(unknown_calls=1)


def _dot(eqn):
  (contracted, _), _ = eqn.params["dimension_numbers"]
  depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
  return FlopCount(dots=2 * depth * math.prod(eqn.outvars[0].aval.shape))


def _conv(eqn):
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


def _scan(eqn):
  return _inside(eqn) * eqn.params["length"]


def _while(eqn):
  count = _inside(eqn)
  return count + FlopCount(unbounded_loops=int(count != FlopCount()))


def _cond(eqn):
  branches = [_count(branch.jaxpr) for branch in eqn.params["branches"]]
  platforms = eqn.params.get("branches_platforms")
  if platforms is not None:
    return branches[_platform_branch(platforms)]
  return dataclasses.replace(
    max(branches, key=lambda branch: branch.total),
    unbounded_loops=max(branch.unbounded_loops for branch in branches),
    unknown_calls=max(branch.unknown_calls for branch in branches),
  )


def _platform_branch(platforms) -> int:
  """The branch that `jax.lax.platform_dependent` takes here; None is any."""
  backend = jax.default_backend()
  names = {backend, *({"cuda", "rocm"} if backend == "gpu" else ())}
  for i, accepted in enumerate(platforms):
    if accepted is None or names & set(accepted):
      return i
  raise ValueError(f"no branch for {backend}, only for {platforms}")


def _shard_map(eqn):
  mesh, axes = eqn.params["mesh"], eqn.params["newly_manual_axes"]
  return _inside(eqn) * math.prod(mesh.shape[axis] for axis in axes)


def _pallas(eqn):
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
