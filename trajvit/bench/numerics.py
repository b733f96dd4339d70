"""Checks attention on this device against float64, before it is timed.

A kernel that runs on one machine only is tested there: a fast wrong result is
the worst thing a benchmark can print. The definition below is NumPy on the
host, on the inputs as they were rounded for the device.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.bench.stopwatch import reason
from trajvit.ops.attention import (
  BlockMask,
  attend,
  from_classes,
  from_pattern,
  sequence,
)
from trajvit.ops.attention.block_mask import pattern_classes
from trajvit.ops.attention.pattern import EMPTY, Dense


@dataclasses.dataclass(frozen=True)
class Tolerance:
  """Largest errors: relative in the Euclidean norm, absolute for logsumexp."""

  out: float
  gradient: float
  logsumexp: float


TOLERANCES = {
  "float32": Tolerance(out=2e-6, gradient=4e-6, logsumexp=2e-6),
  "bfloat16": Tolerance(out=6e-3, gradient=8e-3, logsumexp=2e-3),
  # Of an accelerator, whose products round float32 operands.
  "tensorfloat": Tolerance(out=1e-3, gradient=2e-3, logsumexp=1e-3),
}
BATCH, HEADS = 2, 2


def tolerance(dtype: str, platform: str) -> Tolerance:
  """Returns what is allowed; a TPU multiplies float32 in bfloat16 passes."""
  if dtype == "float32" and platform != "cpu":
    return TOLERANCES["tensorfloat" if platform == "gpu" else "bfloat16"]
  return TOLERANCES[dtype]


def masks(
  length: int, *, block_query: int, block_key: int, seed: int
) -> dict[str, BlockMask | None]:
  """Returns the masks to check with, by name.

  `dense` is none at all, `full lists` visits every tile, `random tiles` has a
  block of queries without keys and one of keys without queries, `segments` has
  packed clips and padding.
  """
  blocks = dict(block_query=block_query, block_key=block_key)
  rng = np.random.default_rng(seed)
  number = -(-length // block_query), -(-length // block_key)
  kept = rng.random((1, 1, *number)) < 0.5
  kept[..., -1, :] = kept[..., :, -1] = False
  segments = np.sort(rng.integers(0, 4, (BATCH, length)), axis=1)
  segments[:, length - length // 5 :] = -1

  @jax.jit
  def build(kept, segments):
    tokens, packed = sequence(length), sequence(length, segments=segments)
    whole = pattern_classes(Dense(), tokens, tokens, **blocks)
    random = jnp.where(kept, whole, EMPTY)
    return {
      "full lists": from_pattern(Dense(), tokens, **blocks),
      "random tiles": from_classes(
        random, tokens, tokens, pattern=Dense(), **blocks
      ),
      "segments": from_pattern(Dense(), packed, **blocks),
    }

  return {"dense": None, **build(kept, segments.astype(np.int32))}


def check(
  implementations: Sequence[str],
  *,
  lengths: Sequence[int],
  head_dims: Sequence[int],
  dtypes: Sequence[str],
  block_query: int,
  block_key: int,
  seed: int,
) -> list[dict]:
  """Returns a row for every implementation, mask, length, width and dtype.

  Each has `verdict`, "ok", "WRONG", "FAILED" or "cannot", the last for what an
  implementation refuses with NotImplementedError. Where it ran, `errors` has
  those of `out`, `logsumexp` and the gradients of `query`, `key`, `value` and
  `bias`; else `reason` says why not.
  """
  rows = []
  for length in lengths:
    found = masks(
      length, block_query=block_query, block_key=block_key, seed=seed
    )
    for name, mask in found.items():
      for head_dim in head_dims:
        for dtype in dtypes:
          for with_bias in (False, True):
            seed += 1
            rows += _check_case(
              implementations,
              name,
              mask,
              length,
              head_dim,
              dtype,
              with_bias,
              seed,
            )
  return rows


def _check_case(
  implementations, name, mask, length, head_dim, dtype, with_bias, seed
):
  inputs = _inputs(mask, length, head_dim, dtype, with_bias, seed)
  allowed = True if mask is None else np.asarray(mask.dense())
  expected = definition(
    *(None if x is None else _host(x) for x in inputs), allowed=allowed
  )
  limit = tolerance(dtype, jax.default_backend())
  rows = []
  for implementation in implementations:
    row = dict(
      implementation=implementation,
      mask=name,
      length=length,
      head_dim=head_dim,
      dtype=dtype,
      bias=with_bias,
    )
    poison(64 * inputs[0].nbytes)
    # A kernel may fail with any error, and the others are still to be checked.
    try:
      got = jax.block_until_ready(_run(implementation, mask)(*inputs))
    except NotImplementedError as error:
      rows.append(row | {"verdict": "cannot", "reason": reason(error)})
      continue
    except Exception as error:
      rows.append(row | {"verdict": "FAILED", "reason": reason(error)})
      continue
    errors = compare(got, expected)
    rows.append(row | dict(verdict=verdict(errors, limit), errors=errors))
  return rows


def compare(got: dict, expected: dict) -> dict[str, float]:
  """Returns the error of every array; inf where it is not finite, or is not
  exactly 0 (-inf for logsumexp) where that is expected of a query or a key
  without any partner."""
  errors = {}
  for name, value in expected.items():
    if got[name] is None:  # a dense implementation may keep logsumexp to itself
      continue
    array = np.asarray(got[name], np.float64)
    if name == "logsumexp":
      empty = np.isneginf(value)
      same = np.array_equal(np.isneginf(array), empty)
      gap = np.abs(np.where(empty, 0, array) - np.where(empty, 0, value))
      good = same and np.isfinite(gap).all()
      errors[name] = float(gap.max()) if good else float("inf")
      continue
    good = np.isfinite(array).all() and not array[value == 0].any()
    norm = np.linalg.norm(value)
    error = np.linalg.norm(array - value) / (norm if norm else 1)
    errors[name] = float(error) if good else float("inf")
  return errors


def verdict(errors: dict[str, float], limit: Tolerance) -> str:
  """Returns "ok", or "WRONG" if any error is above its limit."""
  allowed = {"out": limit.out, "logsumexp": limit.logsumexp}
  good = all(
    error <= allowed.get(name, limit.gradient) for name, error in errors.items()
  )
  return "ok" if good else "WRONG"


def definition(query, key, value, out_grad, bias, *, allowed) -> dict:
  """Returns output, logsumexp and gradients in float64, from the formulas.

  Args:
    query: [B, N, K, d], and key, value, out_grad likewise; finite.
    key: see `query`.
    value: see `query`.
    out_grad: gradient of the output.
    bias: [B, N] or None.
    allowed: bool that broadcasts to [B, K, N, N].
  """
  scale = query.shape[-1] ** -0.5
  logits = scale * np.einsum("bqkd,bskd->bkqs", query, key)
  if bias is not None:
    logits += bias[:, None, None, :]
  logits = np.where(allowed, logits, -np.inf)
  top = logits.max(-1, keepdims=True)
  top = np.where(np.isfinite(top), top, 0)
  weights = np.exp(logits - top)
  total = weights.sum(-1, keepdims=True)
  with np.errstate(divide="ignore"):
    logsumexp = (top + np.log(total))[..., 0]
  weights /= np.where(total > 0, total, 1)
  through = np.einsum("bqkd,bskd->bkqs", out_grad, value)
  mean = (weights * through).sum(-1, keepdims=True)
  logits_grad = weights * (through - mean)
  found = {
    "out": np.einsum("bkqs,bskd->bqkd", weights, value),
    "logsumexp": logsumexp.swapaxes(1, 2),
    "query": scale * np.einsum("bkqs,bskd->bqkd", logits_grad, key),
    "key": scale * np.einsum("bkqs,bqkd->bskd", logits_grad, query),
    "value": np.einsum("bkqs,bqkd->bskd", weights, out_grad),
  }
  if bias is not None:
    found["bias"] = logits_grad.sum((1, 2))
  return found


def poison(size: int) -> None:
  """Fills free device memory with NaN, for who reads before writing.

  The allocator of a GPU hands the same memory out again; elsewhere this may do
  nothing.

  Args:
    size: bytes.
  """
  jax.block_until_ready(jnp.full(size // 4, jnp.nan, jnp.float32)).delete()


def _run(implementation, mask) -> Callable:
  @jax.jit
  def run(query, key, value, out_grad, bias):
    def call(query, key, value, bias):
      found = attend(
        query, key, value, mask=mask, bias=bias, implementation=implementation
      )
      return found.out, found.logsumexp

    out, pull, logsumexp = jax.vjp(call, query, key, value, bias, has_aux=True)
    names = ("query", "key", "value", "bias")
    gradients = dict(zip(names, pull(out_grad), strict=True))
    return {"out": out, "logsumexp": logsumexp} | gradients

  return run


def _inputs(mask, length, head_dim, dtype, with_bias, seed):
  keys = jax.random.split(jax.random.key(seed), 5)
  shape = (BATCH, length, HEADS, head_dim)
  arrays = [jax.random.normal(key, shape, jnp.dtype(dtype)) for key in keys[:4]]
  bias = jax.random.normal(keys[4], (BATCH, length)) if with_bias else None
  return *arrays, bias


def _host(x):
  return np.asarray(x, np.float64)
