"""Token Sparse Attention: every head attends among its own few tokens.

Source: Token Sparse Attention, arXiv:2602.03216, of which the idea is taken: a
subset of tokens for each head, dense attention among them, results put back in
place, zeros elsewhere (the residual carries those tokens on). Ours are the
votes: the paper's decoder asks the most recent queries, an encoder has none, so
the mean query of every block votes.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.dynamic.heads import (
  gather_heads,
  gather_keys,
  split_heads,
)
from trajvit.ops.attention.dynamic.select import pooled, ranks
from trajvit.ops.attention.entry import attention
from trajvit.ops.attention.mask import AttentionMask


def importance(
  query: jax.Array, key: jax.Array, coordinates: Coordinates, block: int = 128
) -> jax.Array:
  """Returns [B, K, N] float32, the attention a token gets from mean queries.

  It sums to 1 over the real tokens of a row; padding gets 0.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    coordinates: [B or 1, N], of rows that are one clip each.
    block: queries that vote together, as their mean.
  """
  length = key.shape[1]
  votes = pooled(query, coordinates, block)  # [B, K, n, d]
  logits = jnp.einsum("bhqd,bnhd->bhqn", votes, key.astype(jnp.float32))
  real = coordinates.valid()[:, None, None, :]
  logits = jnp.where(real, logits * query.shape[-1] ** -0.5, -1e30)
  share = jnp.where(real, jax.nn.softmax(logits, axis=-1), 0)
  count = -(-length // block)
  padded = coordinates.pad(count * block).valid()
  voting = padded.reshape(-1, 1, count, block).any(-1, keepdims=True)
  voters = jnp.maximum(voting.sum(2), 1)  # [B, 1, 1]
  return jnp.where(voting, share, 0).sum(2) / voters


def top_tokens(
  scores: jax.Array,
  count: int,
  coordinates: Coordinates,
  *,
  coverage: float = 1.0,
  always: int = 0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the tokens that each head keeps.

  Args:
    scores: [B, K, N] at least 0, such as `importance`.
    count: M, the most tokens of a head; more than N means N.
    coordinates: [B or 1, N]; padding is never kept.
    coverage: in (0, 1]; below 1, tokens are kept only until their scores hold
      this share of the sum: the paper's token coverage.
    always: the first tokens of a row that are kept whatever they score, such
      as class and register tokens; they count among the M.

  Returns:
    indices: [B, K, M] int32, best first.
    kept: [B, K, M] bool, False in the slots that are not used.
    rank: [B, K, N] int32, the slot of a token; it has one if rank < M.

  Raises:
    ValueError: coverage outside (0, 1], or `always` over `count`.
  """
  if not 0 < coverage <= 1:
    raise ValueError(f"coverage must be in (0, 1], got {coverage}")
  if not 0 <= always <= count:
    raise ValueError(f"always must be in [0, {count}], got {always}")
  length = scores.shape[2]
  count = min(count, length)
  real = jnp.broadcast_to(coordinates.valid()[:, None, :], scores.shape)
  first = real & (jnp.arange(length) < always)
  order, rank = ranks(
    jnp.where(first, jnp.inf, jnp.where(real, scores, -jnp.inf))
  )
  kept = jnp.take_along_axis(real, order, axis=2)[..., :count]
  if coverage < 1:
    share = jnp.take_along_axis(jnp.where(real, scores, 0), order, axis=2)
    total = share.sum(-1, keepdims=True)
    before = (share.cumsum(-1) - share)[..., :count]
    missing = before < coverage * total
    kept &= missing | (jnp.arange(count) < always)
  return order[..., :count], kept, rank


def token_sparse_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  indices: jax.Array,
  kept: jax.Array,
  rank: jax.Array,
  *,
  bias: jax.Array | None = None,
) -> jax.Array:
  """Returns [B, N, K, d]: attention among the kept tokens, 0 elsewhere.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    value: [B, N, K, d].
    indices: from `top_tokens`.
    kept: likewise.
    rank: likewise.
    bias: [B, N] float32 on the logits of keys, or None.
  """
  heads, count = query.shape[2], indices.shape[2]
  used = kept.reshape(-1, count)  # [B K, M]
  query = jnp.where(used[..., None, None], gather_heads(query, indices), 0)
  out = attention(
    query,
    gather_heads(key, indices),
    gather_heads(value, indices),
    mask=AttentionMask(keys=used),
    bias=None if bias is None else gather_keys(bias, indices),
  )
  out = jnp.where(kept[..., None], split_heads(out, heads), 0)  # [B, K, M, d]
  slot = jnp.minimum(rank, count - 1)[..., None]
  out = jnp.take_along_axis(out, slot, axis=2)  # [B, K, N, d]
  return jnp.where(rank[..., None] < count, out, 0).swapaxes(1, 2)
