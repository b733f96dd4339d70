"""Vertical-slash selection: columns and diagonals that the last queries like.

Source: MInference, arXiv:2407.02490. It finds single columns and diagonals of
tokens for causal attention; here both are of whole blocks, and a diagonal
stands for the same distance in both directions, because the last queries of an
encoder only look back.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.dynamic.select import per_head, ranks
from trajvit.ops.attention.pattern import EMPTY


def estimate(
  query: jax.Array, key: jax.Array, base: BlockMask, *, last: int = 64
) -> tuple[jax.Array, jax.Array]:
  """Returns the attention of the last queries, by column and by diagonal.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    base: its coordinates and block sizes are used, its pattern is not.
    last: how many real queries, the last of each row, are looked at.

  Returns:
    columns: [B, K, nk] float32, the sum of the attention to each key block.
    diagonals: [B, K, n] float32, the sum over the tiles at each distance
      |query block - key block|, n = max(nq, nk).

  Raises:
    ValueError: query and key blocks differ in size.
  """
  if base.block_query != base.block_key:
    raise ValueError(
      "a diagonal needs equal blocks of queries and keys, got "
      f"{base.block_query} and {base.block_key}"
    )
  places, real = _last(base.query.valid()[:, : base.query_length], last)
  places, real = (
    jnp.broadcast_to(x, (query.shape[0], x.shape[1])) for x in (places, real)
  )
  sample = jnp.take_along_axis(query, places[:, :, None, None], axis=1)
  logits = jnp.einsum(
    "bshd,bnhd->bhsn", sample, key, preferred_element_type=jnp.float32
  )
  logits *= query.shape[-1] ** -0.5
  seen = base.key.valid()[:, None, None, : base.key_length]
  logits = jnp.where(seen, logits, jnp.finfo(jnp.float32).min)
  share = jnp.where(seen, jax.nn.softmax(logits, axis=-1), 0)
  share = jnp.where(real[:, None, :, None], share, 0)
  rows, blocks = base.classes.shape[2:]
  missing = blocks * base.block_key - base.key_length
  share = jnp.pad(share, [(0, 0)] * 3 + [(0, missing)])
  share = share.reshape(*share.shape[:3], blocks, base.block_key).sum(-1)

  distance = places[..., None] // base.block_query - np.arange(blocks)
  at = jax.nn.one_hot(abs(distance), max(rows, blocks))  # [B, last, nk, n]
  return share.sum(2), jnp.einsum("bhsk,bskn->bhn", share, at)


def vertical_slash(
  query: jax.Array,
  key: jax.Array,
  base: BlockMask,
  *,
  columns: int,
  diagonals: int,
  last: int = 64,
  forced: np.ndarray | None = None,
  capacity: int | None = None,
) -> BlockMask:
  """Returns `base` with the best columns and diagonals of tiles of each head.

  All clips of a packed row would share the estimate of the last one: rows must
  be one clip each.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    base: what may be chosen.
    columns: how many columns of tiles.
    diagonals: how many distances; each is a diagonal on both sides.
    last: how many queries estimate them.
    forced: as in `select.top_blocks`.
    capacity: the longest list, at most columns + 2 * diagonals + forced tiles;
      None fits all.

  Raises:
    ValueError: query and key blocks differ in size.
  """
  vertical, slash = estimate(query, key, base, last=last)
  rows, blocks = base.classes.shape[2:]
  kept = _best(vertical, columns)[:, :, None, :]
  distance = abs(np.arange(rows)[:, None] - np.arange(blocks))
  kept = kept | _best(slash, diagonals)[..., distance]  # [B, K, nq, nk]
  if forced is not None:
    kept = kept | forced
  classes = jnp.where(kept, per_head(base, query.shape[2]), EMPTY)
  return base.with_classes(classes, capacity)


def _best(scores, count):
  """Where the `count` highest of the last axis are; of equals, the first."""
  return ranks(scores)[1] < count


def _last(valid, count):
  """Places [B, count] of the last real tokens of a row, and which exist."""
  length = valid.shape[1]
  places = jnp.where(valid, jnp.arange(length), -1)
  places = jnp.sort(places, axis=-1)[:, -count:]
  return jnp.maximum(places, 0), places >= 0
