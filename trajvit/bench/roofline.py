"""What block-sparse attention has to compute and to move, and the limits.

FLOPs are those of the model: two products forward, five backward. Kernels that
recompute the weights once for the gradient of the queries and once more for
those of keys and values execute seven, which is reported beside it and never
divided by the peak.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.bench.stopwatch import alternate, build


@dataclasses.dataclass(frozen=True)
class Work:
  """What one call costs, whoever runs it.

  Attributes:
    flops: of the model.
    executed_flops: of kernels with a separate pass for the queries' gradient.
    bytes: read and written, if every array crosses memory once a kernel.
  """

  flops: int
  executed_flops: int
  bytes: int

  def __add__(self, other: "Work") -> "Work":
    return Work(
      self.flops + other.flops,
      self.executed_flops + other.executed_flops,
      self.bytes + other.bytes,
    )


def forward_work(
  logits: int, queries: int, keys: int, head_dim: int, itemsize: int
) -> Work:
  """Returns the work of the forward pass.

  Args:
    logits: how many are computed, over batch, heads and tiles.
    queries: B * K * Nq.
    keys: B * K * Nk.
    head_dim: d.
    itemsize: bytes of an element of query, key, value and output.
  """
  flops = 2 * 2 * logits * head_dim
  row = head_dim * itemsize
  # Reads q, k, v, writes the output and the float32 logsumexp.
  return Work(flops, flops, row * (2 * queries + 2 * keys) + 4 * queries)


def backward_work(
  logits: int, queries: int, keys: int, head_dim: int, itemsize: int
) -> Work:
  """Returns the work of the backward pass; arguments as `forward_work`."""
  product = 2 * logits * head_dim
  row = head_dim * itemsize
  # For the queries' gradient q, its output's gradient, k, v and two float32
  # rows (logsumexp, delta) are read and one array written; for the keys' and
  # values' the same are read and two written.
  moved = row * (3 * queries + 2 * keys) + row * (2 * queries + 4 * keys)
  return Work(5 * product, 7 * product, moved + 2 * 8 * queries)


@dataclasses.dataclass(frozen=True)
class Ceilings:
  """What this device reaches at best, measured here.

  Attributes:
    flops_per_second: of a large matrix product.
    bytes_per_second: of a copy, read and write together.
    how: what was timed.
  """

  flops_per_second: float
  bytes_per_second: float
  how: str

  def seconds(self, work: Work) -> float:
    """Returns the least time for `work`: whichever limit it meets."""
    return max(
      work.flops / self.flops_per_second, work.bytes / self.bytes_per_second
    )


def measure_ceilings(
  dtype, *, size: int, megabytes: int, rounds: int, clock=time.perf_counter
) -> Ceilings:
  """Times a matrix product and a copy.

  Args:
    dtype: of the product's operands; it accumulates in float32.
    size: of the square matrices.
    megabytes: size of the array that is copied, above any cache.
    rounds: medians are over so many.
    clock: see `alternate`.
  """
  dtype = jnp.dtype(dtype)
  length = megabytes * 2**20 // 4

  def product(a, b):
    out = jnp.matmul(a, b, preferred_element_type=jnp.float32)
    return out.astype(dtype)

  square = jax.ShapeDtypeStruct((size, size), dtype)
  line = jax.ShapeDtypeStruct((length,), jnp.float32)
  multiply = build(product, square, square).call
  # An addition, because a program that only copies may be left out.
  copy = build(lambda x: x + 1, line).call

  @jax.jit
  def inputs(turn):
    keys = jax.random.split(jax.random.key(turn), 3)
    a, b = (jax.random.normal(key, (size, size), dtype) for key in keys[:2])
    return a, b, jax.random.uniform(keys[2], (length,))

  seconds, errors = alternate(
    {
      "product": lambda a, b, x: multiply(a, b),
      "copy": lambda a, b, x: copy(x),
    },
    inputs,
    rounds=rounds,
    clock=clock,
  )
  if errors:
    raise RuntimeError(f"the ceilings could not be measured: {errors}")
  return Ceilings(
    2 * size**3 / seconds["product"],
    2 * 4 * length / seconds["copy"],
    f"{size} x {size} {dtype.name} product, {megabytes} MiB copy",
  )


def break_even(
  densities: Sequence[float], seconds: Sequence[float], dense_seconds: float
) -> float | None:
  """Returns the block density at which sparse attention costs as dense does.

  Sparse time is taken as a line over the density: tiles, and what is paid per
  block of queries whatever it meets.

  Returns:
    The density where the least-squares line meets `dense_seconds`; over 1 where
    even full lists are faster. None without two densities or with a line that
    does not rise.
  """
  if len(set(densities)) < 2:
    return None
  slope, offset = statistics.linear_regression(densities, seconds)
  return (dense_seconds - offset) / slope if slope > 0 else None


def ideal_seconds(dense_seconds: float, density: float) -> float:
  """Returns the time of dense attention, if only listed tiles cost any."""
  return dense_seconds * density
