"""The three kernels: what a program does with the tiles it walks over.

Logits are held transposed, [keys, queries]: the maximum, sum and logsumexp of a
query are then rows of 128 lanes, and so is a head of 64 dimensions. They are in
base 2, float32. Each kernel takes

  walk(step): calls `step(get, numbers, masked)` for every group of tiles;
    `get(name)` reads an operand, `numbers` are those of the moving blocks.
  refs: references to outputs and scratch, by name.
  get: reads operands of the block that stays.
  rule: what is common to the three.

Source: FlashAttention-2, arXiv:2307.08691; BLASST, arXiv:2512.12087.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trajvit.ops.attention.coordinates import Coordinates

# A finite floor for what may not be read: exp2 of it is exactly 0, and the
# difference of two of them is not NaN.
FLOOR = -1e30
_LOG2_E = math.log2(math.e)
_COORDINATES = len(dataclasses.fields(Coordinates))


@dataclasses.dataclass(frozen=True)
class Rule:
  """How logits are made of queries and keys.

  Attributes:
    scale: of the product.
    biased: whether there is an operand "bias".
    allowed: `BlockMask.allowed`.
    skip_below: lambda of BLASST, or None.
  """

  scale: float
  biased: bool
  allowed: Callable
  skip_below: float | None = None


def forward(walk, refs: dict, rule: Rule) -> None:
  """Writes "out" and "logsumexp", and "tile_max" and "kept" where they are.

  Scratch: "top" and "total" [1, queries] and "sum" [d, queries] float32; with
  either statistic "peaks" [key blocks, queries] float32.
  """
  top, total, weighted = refs["top"], refs["total"], refs["sum"]
  top[...] = jnp.full_like(top, FLOOR)
  total[...] = jnp.zeros_like(total)
  weighted[...] = jnp.zeros_like(weighted)
  if "peaks" in refs:
    refs["peaks"][...] = jnp.full_like(refs["peaks"], FLOOR)

  def step(get, numbers, masked):
    logits = _logits(get, masked, rule)
    tiles = jnp.split(logits, len(numbers))
    peaks = [tile.max(0, keepdims=True) for tile in tiles]
    peak = functools.reduce(jnp.maximum, peaks)

    def accumulate():
      for number, each in zip(numbers, peaks, strict=True):
        if "peaks" in refs:
          refs["peaks"][pl.ds(number, 1), :] = each
      highest = jnp.maximum(top[...], peak)
      origin = jnp.where(highest <= FLOOR, 0.0, highest)
      weights = jnp.exp2(logits - origin)
      shrink = jnp.exp2(top[...] - origin)
      value = get("value")
      total[...] = shrink * total[...] + weights.sum(0, keepdims=True)
      product = _dot(value, weights.astype(value.dtype), (0, 0))
      weighted[...] = shrink * weighted[...] + product
      top[...] = highest

    if rule.skip_below is None:
      accumulate()
    else:
      rise = jnp.where(peak > FLOOR, peak - top[...], FLOOR)
      pl.when(jnp.max(rise) >= math.log2(rule.skip_below))(accumulate)

  walk(step)
  seen = total[...] > 0
  divisor = jnp.where(seen, total[...], 1.0)
  out = jnp.where(seen, weighted[...] / divisor, 0.0)
  refs["out"][...] = out.T.astype(refs["out"].dtype)
  logsumexp = jnp.where(seen, top[...] + jnp.log2(divisor), jnp.inf)
  refs["logsumexp"][...] = logsumexp / _LOG2_E
  if "tile_max" in refs:
    largest = jnp.exp2(refs["peaks"][...] - logsumexp)
    refs["tile_max"][...] = largest.max(1, keepdims=True).T
  if "kept" in refs:
    highest = refs["peaks"][...].max(1, keepdims=True).T
    refs["kept"][...] = (highest > FLOOR).astype(jnp.int32)


def query_gradient(walk, refs: dict, rule: Rule) -> None:
  """Writes "query_grad". Scratch: "sum" [d, queries] float32."""
  refs["sum"][...] = jnp.zeros_like(refs["sum"])

  def step(get, numbers, masked):
    del numbers
    _, logits_grad = _gradients(get, masked, rule)
    key = get("key")
    refs["sum"][...] += _dot(key, logits_grad.astype(key.dtype), (0, 0))

  walk(step)
  gradient = refs["sum"][...].T * rule.scale
  refs["query_grad"][...] = gradient.astype(refs["query_grad"].dtype)


def key_gradients(walk, refs: dict, rule: Rule) -> None:
  """Writes "key_grad", "value_grad", and "bias_grad" with a bias.

  Scratch: "key_sum", "value_sum" [keys, d] and "bias_sum" [keys, 1] float32.
  """
  names = ["key", "value"] + ["bias"] * rule.biased
  for name in names:
    refs[f"{name}_sum"][...] = jnp.zeros_like(refs[f"{name}_sum"])

  def step(get, numbers, masked):
    del numbers
    weights, logits_grad = _gradients(get, masked, rule)
    query, out_grad = get("query"), get("out_grad")
    refs["value_sum"][...] += _dot(weights.astype(out_grad.dtype), out_grad)
    refs["key_sum"][...] += _dot(logits_grad.astype(query.dtype), query)
    if rule.biased:
      refs["bias_sum"][...] += logits_grad.sum(1, keepdims=True)

  walk(step)
  key_grad = refs["key_sum"][...] * rule.scale
  refs["key_grad"][...] = key_grad.astype(refs["key_grad"].dtype)
  value_grad = refs["value_sum"][...]
  refs["value_grad"][...] = value_grad.astype(refs["value_grad"].dtype)
  if rule.biased:
    refs["bias_grad"][...] = _row(refs["bias_sum"][...])


def _logits(get, masked, rule):
  """[keys, queries] float32, base 2, FLOOR where a pair may not meet."""
  logits = _dot(get("key"), get("query"), (1, 1)) * (rule.scale * _LOG2_E)
  if rule.biased:
    logits += _column(get("bias")) * _LOG2_E
  if not masked:
    return logits
  query = get("query_places")  # [8, queries]
  key = get("key_places").T  # [keys, 8]
  allowed = rule.allowed(
    Coordinates(*(query[n : n + 1] for n in range(_COORDINATES))),
    Coordinates(*(key[:, n : n + 1] for n in range(_COORDINATES))),
  )
  return jnp.where(allowed, logits, FLOOR)


def _gradients(get, masked, rule):
  """The weights, and the gradients of the logits in base e."""
  weights = jnp.exp2(_logits(get, masked, rule) - get("logsumexp") * _LOG2_E)
  through = _dot(get("value"), get("out_grad"), (1, 1))
  return weights, weights * (through - get("delta"))


def _dot(left, right, axes=(1, 0)):
  dimensions = (((axes[0],), (axes[1],)), ((), ()))
  return jax.lax.dot_general(
    left, right, dimensions, preferred_element_type=jnp.float32
  )


def _column(row):
  """[1, n] to [n, 1], through a shape that the hardware transposes."""
  return jnp.broadcast_to(row, (8, row.shape[1])).T[:, :1]


def _row(column):
  """[n, 1] to [1, n], likewise."""
  return jnp.broadcast_to(column, (column.shape[0], 128)).T[:1]
