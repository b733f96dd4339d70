"""What attention is, in float64 NumPy over a dense mask, and its gradients.

Every implementation is compared with this file. Arrays have the layout of
`trajvit.ops.attention.attend`: query [B, Nq, K, d], key and value
[B, Nk, K, d], bias [B, Nk], out [B, Nq, K, d], logsumexp [B, Nq, K]; `allowed`
broadcasts to [B, K, Nq, Nk]. Padding tokens must not be allowed, and may hold
anything, NaN too.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention import BlockMask, Coordinates, from_classes
from trajvit.ops.attention.block_mask import pattern_classes
from trajvit.ops.attention.pattern import (
  EMPTY,
  FULL,
  PARTIAL,
  Dense,
  Pattern,
  both,
)


@dataclasses.dataclass(frozen=True)
class Tolerance:
  """The largest errors allowed, for `relative_error` and `logsumexp_error`."""

  out: float
  gradient: float
  logsumexp: float


TOLERANCES = {
  "float32": Tolerance(out=2e-6, gradient=4e-6, logsumexp=2e-6),
  "bfloat16": Tolerance(out=6e-3, gradient=8e-3, logsumexp=2e-3),
}


def attention(query, key, value, allowed, bias=None, scale=None):
  """Returns (out, logsumexp): 0 and -inf for a query that may read nothing."""
  value = _float64(value, allowed, keys=True)
  logits = attention_logits(query, key, allowed, bias, scale)
  weights, logsumexp = _softmax(logits)
  out = np.einsum("bkqs,bskd->bqkd", weights, value)
  return out, logsumexp.swapaxes(1, 2)


def gradients(
  query,
  key,
  value,
  allowed,
  out_grad,
  logsumexp_grad=None,
  bias=None,
  scale=None,
):
  """Returns the gradients of (query, key, value, bias).

  Args:
    query: as in `attention`, and so on.
    key: likewise.
    value: likewise.
    allowed: likewise.
    out_grad: cotangent of out, [B, Nq, K, d].
    logsumexp_grad: cotangent of logsumexp, [B, Nq, K]; None is 0.
    bias: [B, Nk] or None; its gradient is returned in either case.
    scale: of the logits, d ** -0.5 unless given.
  """
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  logits = attention_logits(query, key, allowed, bias, scale)
  weights, logsumexp = _softmax(logits)
  query = _float64(query, allowed, keys=False)
  key, value = (_float64(x, allowed, keys=True) for x in (key, value))
  out_grad = np.asarray(out_grad, np.float64)
  if logsumexp_grad is None:
    logsumexp_grad = np.zeros(out_grad.shape[:3])
  through = np.einsum("bqkd,bskd->bkqs", out_grad, value)
  mean = (weights * through).sum(-1, keepdims=True)
  direct = np.asarray(logsumexp_grad, np.float64).swapaxes(1, 2)[..., None]
  logits_grad = weights * (through - mean + direct)
  return (
    scale * np.einsum("bkqs,bskd->bqkd", logits_grad, key),
    scale * np.einsum("bkqs,bqkd->bskd", logits_grad, query),
    np.einsum("bkqs,bqkd->bskd", weights, out_grad),
    logits_grad.sum((1, 2)),
  )


def tile_max(query, key, allowed, block, bias=None, scale=None):
  """Returns [B, K, nq, nk], the largest attention weight in each tile.

  Args:
    query: as in `attention`, and so on.
    key: likewise.
    allowed: likewise.
    block: (tokens in a query block, tokens in a key block).
    bias: likewise.
    scale: likewise.
  """
  weights, _ = _softmax(attention_logits(query, key, allowed, bias, scale))
  return _tiles(weights, block, fill=0).max((3, 5))


def kept_tiles(
  query, key, blocks: BlockMask, skip_below, bias=None, scale=None
):
  """Returns [B, K, nq, nk] bool, the tiles that BLASST does not skip.

  The listed tiles of a query block are walked, full ones first, then partial
  ones, each in ascending order. A tile is kept if one of its queries may read a
  key in it whose logit is at least log(skip_below) above the largest logit that
  this query has read in the tiles before; the first keys of a query always are.
  """
  block = blocks.block_query, blocks.block_key
  allowed = dense(blocks, query.shape[0], query.shape[2])
  logits = attention_logits(query, key, allowed, bias, scale)
  tops = _tiles(logits, block, fill=-np.inf).max(5)  # [B, K, nq, block, nk]
  classes = np.asarray(blocks.classes)
  group = query.shape[2] // classes.shape[1]
  kept = np.zeros(tops.shape[:3] + tops.shape[4:], bool)
  for b, k, row in np.ndindex(kept.shape[:3]):
    listed = classes[b % classes.shape[0], k // group, row]
    running = np.full(block[0], -np.inf)
    for kind in (FULL, PARTIAL):
      for column in np.flatnonzero(listed == kind):
        top = tops[b, k, row, :, column]
        near = np.isfinite(top) & (top >= running + np.log(skip_below))
        if near.any():
          kept[b, k, row, column] = True
          running = np.maximum(running, top)
  return kept


def dense(blocks: BlockMask, batch: int, heads: int) -> np.ndarray:
  """Returns [B, K, Nq, Nk] bool, the pairs that a BlockMask allows."""
  allowed = np.asarray(_dense(blocks))
  allowed = np.repeat(allowed, heads // allowed.shape[1], axis=1)
  return np.broadcast_to(allowed, (batch, *allowed.shape[1:]))


def spread(kept, blocks: BlockMask) -> np.ndarray:
  """Returns [B, K, Nq, Nk], a value a tile repeated for its pairs."""
  tall = np.repeat(np.asarray(kept), blocks.block_query, axis=2)
  wide = np.repeat(tall, blocks.block_key, axis=3)
  return wide[:, :, : blocks.query_length, : blocks.key_length]


def attention_logits(query, key, allowed, bias=None, scale=None):
  """Returns [B, K, Nq, Nk] float64, -inf where not allowed."""
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  query = _float64(query, allowed, keys=False)
  key = _float64(key, allowed, keys=True)
  logits = scale * np.einsum("bqkd,bskd->bkqs", query, key)
  if bias is not None:
    logits = logits + np.asarray(bias, np.float64)[:, None, None, :]
  return np.where(allowed, logits, -np.inf)


def relative_error(got, expected) -> float:
  """Returns |got - expected| / |expected| in the Euclidean norm.

  Where all of `expected` is 0 that is |got|. Anything not finite is inf.
  """
  got, expected = (np.asarray(x, np.float64) for x in (got, expected))
  if got.shape != expected.shape or not np.isfinite(got).all():
    return float("inf")
  norm = np.linalg.norm(expected)
  return float(np.linalg.norm(got - expected) / (norm if norm else 1))


def logsumexp_error(got, expected) -> float:
  """Returns the largest |got - expected|, relative where |expected| > 1.

  -inf must stand where it is expected, and nowhere else.
  """
  got, expected = (np.asarray(x, np.float64) for x in (got, expected))
  empty = np.isneginf(expected)
  if got.shape != expected.shape or not np.array_equal(np.isneginf(got), empty):
    return float("inf")
  got, expected = got[~empty], expected[~empty]
  if not np.isfinite(got).all():
    return float("inf")
  size = np.maximum(np.abs(expected), 1)
  return float((np.abs(got - expected) / size).max(initial=0))


@dataclasses.dataclass(frozen=True)
class Checkered(Pattern):
  """Three pairs of four, so that no row or column of a tile is regular."""

  def allowed(self, query, key):
    """See Pattern."""
    return ((query.index + (key.index ^ (key.index >> 2))) & 3) != 0

  def classes(self, query, key):
    """See Pattern."""
    return PARTIAL + 0 * (query.low.index + key.low.index)


def draw_inputs(rng, batch, queries, keys, heads, dim, dtype="float32"):
  """Returns query, key, value [B, N, K, d] of `dtype` and bias [B, Nk]."""
  query = rng.normal(size=(batch, queries, heads, dim))
  key, value = rng.normal(size=(2, batch, keys, heads, dim))
  query, key, value = (jnp.asarray(x, dtype) for x in (query, key, value))
  bias = jnp.asarray(rng.normal(size=(batch, keys)), jnp.float32)
  return query, key, value, bias


def draw_cotangents(rng, batch, queries, heads, dim, dtype="float32"):
  """Returns cotangents of out, in `dtype`, and of logsumexp."""
  out = jnp.asarray(rng.normal(size=(batch, queries, heads, dim)), dtype)
  logsumexp = rng.normal(size=(batch, queries, heads))
  return out, jnp.asarray(logsumexp, jnp.float32)


def draw_coordinates(rng, batch: int, length: int, segments=0) -> Coordinates:
  """Returns coordinates [B, length] of tokens in packed rows.

  Args:
    rng: NumPy generator.
    batch: B, or 1 for coordinates shared by the batch.
    length: N.
    segments: how many segments in a row, in runs of random length, a tenth of
      the slots being padding; 0 is one segment without padding.
  """
  segment = np.zeros((batch, length), np.int32)
  if segments:
    segment = np.sort(rng.integers(0, segments, (batch, length)), axis=1)
    segment = np.where(rng.random((batch, length)) < 0.1, -1, segment)
  place = np.broadcast_to(np.arange(length), (batch, length))
  fields = segment, place // 16, place // 4 % 4, place % 4, 0 * place, place
  return Coordinates(*(jnp.asarray(x, jnp.int32) for x in fields))


def draw_mask(
  rng,
  *,
  queries: int,
  keys: int,
  block_query: int = 8,
  block_key: int = 8,
  batch: int = 1,
  heads: int = 1,
  coordinates_batch: int | None = None,
  segments: int = 0,
  density: float = 0.6,
  pattern: Pattern | None = None,
  capacity: int | None = None,
) -> BlockMask:
  """Returns a BlockMask of random classes.

  With two blocks or more, one row of tiles is empty in every list, so that its
  queries read nothing, and one column is, so that its keys are never read.

  Args:
    rng: NumPy generator.
    queries: Nq.
    keys: Nk.
    block_query: tokens in a query block.
    block_key: tokens in a key block.
    batch: Bm, how many lists over the batch.
    heads: Hm, how many over the heads.
    coordinates_batch: leading axis of the coordinates; None is `batch`.
    segments: see `draw_coordinates`.
    density: share of tiles that are not empty.
    pattern: decides inside partial tiles; None is `Checkered()`.
    capacity: see `from_classes`.
  """
  coordinates_batch = coordinates_batch or batch
  query = draw_coordinates(rng, coordinates_batch, queries, segments)
  key = draw_coordinates(rng, coordinates_batch, keys, segments)
  number = -(-queries // block_query), -(-keys // block_key)
  kinds = [EMPTY, FULL, PARTIAL]
  chances = [1 - density, density / 2, density / 2]
  classes = rng.choice(kinds, p=chances, size=(batch, heads, *number))
  if number[0] > 1:
    classes[:, :, rng.integers(number[0])] = EMPTY
  if number[1] > 1:
    classes[..., rng.integers(number[1])] = EMPTY

  return _build(
    jnp.asarray(classes),
    query,
    key,
    pattern=Checkered() if pattern is None else pattern,
    block_query=block_query,
    block_key=block_key,
    capacity=capacity,
  )


@functools.partial(
  jax.jit, static_argnames=("pattern", "block_query", "block_key", "capacity")
)
def _build(classes, query, key, *, block_query, block_key, **options):
  """The mask of random classes, FULL only where no token is padding and all are
  of one segment."""
  inside = pattern_classes(Dense(), query, key, block_query, block_key)
  if len(inside) > len(classes):  # a list for several rows of tokens
    inside = jnp.where((inside == FULL).all(0), FULL, PARTIAL)[None]
  return from_classes(
    both(classes, inside),
    query,
    key,
    block_query=block_query,
    block_key=block_key,
    **options,
  )


_dense = jax.jit(BlockMask.dense)


def _softmax(logits):
  """Weights and logsumexp over the last axis; 0 and -inf without keys."""
  top = logits.max(-1, keepdims=True, initial=-np.inf)
  top = np.where(np.isfinite(top), top, 0)
  weights = np.exp(logits - top)
  total = weights.sum(-1, keepdims=True)
  with np.errstate(divide="ignore"):
    logsumexp = (top + np.log(total))[..., 0]
  return weights / np.where(total > 0, total, 1), logsumexp


def _float64(x, allowed, *, keys):
  """[B, N, K, d] float64, 0 in tokens of a head that nothing may read."""
  x = np.asarray(x, np.float64)
  used = np.asarray(allowed).any(2 if keys else 3)  # [B, K, N]
  return np.where(used.swapaxes(1, 2)[..., None], x, 0)


def _tiles(pairs, block, fill):
  """[B, K, Nq, Nk] to [B, K, nq, block_query, nk, block_key]."""
  missing = [-size % b for size, b in zip(pairs.shape[2:], block, strict=True)]
  widths = [(0, 0), (0, 0), *((0, size) for size in missing)]
  padded = np.pad(pairs, widths, constant_values=fill)
  batch, heads, rows, columns = padded.shape
  number = rows // block[0], columns // block[1]
  return padded.reshape(batch, heads, number[0], block[0], number[1], block[1])
