"""Rectified sparse attention: the tiles left out come back as pooled ones.

Source: Rectified SpaAttn, arXiv:2511.19835, of which the two ideas are taken.
Attention over few tiles is too sure of them, so it is scaled down by the mass
that pooled queries and keys give to the rest; and the rest is added as pooled
values, where that gains more than it errs. Our reading:

- A query block a and key block b that is left out have the mass
  m_ab = n_b exp(q_a . k_b), with means q_a and k_b, and n_b tokens in b.
- A query i of a with exact mass Z_i = exp(logsumexp_i) over its tiles gets
  (Z_i out_i + sum_b m_ab v_b) / (Z_i + sum_b m_ab).
- The weights that m_ab stands for are exp(q_a . k_j), j in b. If their logits
  have the variance s around the mean, their spread relative to their mean is
  about sqrt(exp(s) - 1): a block is restored where that error is below 1, the
  gain of having the mass at all. s is taken from the variances of the keys'
  channels, without their covariances.
"""

import math

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.dynamic.select import mixed_tiles, per_head, pooled
from trajvit.ops.attention.entry import attend
from trajvit.ops.attention.merge import merge
from trajvit.ops.attention.pattern import EMPTY, FULL, Dense
from trajvit.ops.attention.sparse import Attended


def rectified_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  selected: BlockMask,
  base: BlockMask,
  *,
  bias: jax.Array | None = None,
  scale: float | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns attention over `selected`, corrected for the rest of `base`.

  Gradients reach queries, keys, values and the bias through both parts; none
  reaches which tiles are selected or restored.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    selected: tiles that are computed, some of `base`.
    base: all that queries may read. Of tiles that its pattern cuts, nothing is
      restored: a mean over the block would hold keys that are not allowed.
    bias: [B, Nk] float32 on the logits of keys, or None; a pooled key weighs
      as much as its tokens.
    scale: of the logits; None is d ** -0.5.

  Returns:
    The result [B, Nq, K, d], and bool [B, K, nq, nk], the tiles restored.
  """
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  exact = attend(query, key, value, mask=selected, bias=bias, scale=scale)
  rows = pooled(query, base.query, base.block_query)  # [B, K, nq, d]
  columns, spread, values, log_mass = _pooled_keys(key, value, bias, base)
  logits = scale * jnp.einsum("bhqd,bhkd->bhqk", rows, columns)
  variance = scale**2 * jnp.einsum("bhqd,bhkd->bhqk", rows**2, spread)
  restored = _missing(selected, base, query.shape[2])
  restored &= variance < math.log(2)

  # Merge as two passes over disjoint keys, one of them pooled.
  floor = jnp.finfo(jnp.float32).min
  logits = jnp.where(restored, logits + log_mass[:, :, None], floor)
  rest = jax.nn.logsumexp(logits, axis=-1)
  weights = jnp.where(restored, jax.nn.softmax(logits, axis=-1), 0)
  some = restored.any(-1)  # [B, K, nq]
  coarse = jnp.einsum("bhqk,bhkd->bhqd", weights, values)

  def to_queries(x):
    x = jnp.repeat(x.swapaxes(1, 2), base.block_query, axis=1)
    return x[:, : base.query_length]

  rest = to_queries(jnp.where(some, rest, -jnp.inf))
  real = base.query.valid()[:, : base.query_length, None]
  rest = jnp.where(real, rest, -jnp.inf)
  out = merge(exact, Attended(to_queries(coarse), rest)).out
  return out.astype(query.dtype), restored


def _pooled_keys(key, value, bias, base):
  """Weighted means and variance of keys, mean of values, log mass, a block.

  The first three are [B, K, nk, d], the last is [B, 1, nk]; a token weighs
  exp(bias). All float32; in a block of padding 0, and the last means nothing.
  """
  real = base.key.valid()[:, : base.key_length]
  bias = jnp.zeros(key.shape[:2]) if bias is None else bias
  bias = jnp.where(real, bias.astype(jnp.float32), -jnp.inf)
  missing = base.key.segment.shape[-1] - base.key_length
  bias = jnp.pad(bias, [(0, 0), (0, missing)], constant_values=-jnp.inf)
  bias = bias.reshape(bias.shape[0], 1, -1, base.block_key)
  some = jnp.isfinite(bias).any(-1)
  floored = jnp.where(jnp.isfinite(bias), bias, jnp.finfo(jnp.float32).min)
  weights = jnp.where(some[..., None], jax.nn.softmax(floored, axis=-1), 0)
  log_mass = jax.nn.logsumexp(floored, axis=-1)

  def mean(x):
    return jnp.einsum("bxkn,bhknd->bhkd", weights, x)

  def blocks(x):
    x = jnp.where(real[..., None, None], x.astype(jnp.float32), 0)
    x = jnp.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)])
    x = x.reshape(x.shape[0], -1, base.block_key, *x.shape[2:])
    return x.transpose(0, 3, 1, 2, 4)  # [B, K, nk, block, d]

  keys = blocks(key)
  center = mean(keys)
  spread = mean(jnp.square(keys - center[:, :, :, None]))
  return center, spread, mean(blocks(value)), log_mass


def _missing(selected, base, heads):
  """Bool [B, K, nq, nk]: tiles of `base` not selected that can be pooled."""
  classes = per_head(base, heads)
  # Under Dense a tile is PARTIAL for its padding, which pools leave out.
  whole = classes != EMPTY if base.pattern == Dense() else classes == FULL
  left_out = per_head(selected, heads) == EMPTY
  return whole & left_out & ~mixed_tiles(base)
