"""Attention over the union of block masks that share no pair."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.entry import attend
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.merge import merge
from trajvit.ops.attention.sparse import Attended


def union_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  masks: Sequence[AttentionMask | BlockMask],
  orders: Sequence[jax.Array | None] | None = None,
  bias: jax.Array | None = None,
  scale: float | None = None,
  implementation: str = "auto",
) -> Attended:
  """Returns self-attention over the union of masks that share no pair.

  Axial attention, for instance, is a pass within frames, whose tiles are dense
  in raster order, and one along time, whose tiles are dense in time-major
  order; in no single order are both. A pair that two masks allow would count
  twice: one of them must leave out the query's own token.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    value: [B, N, K, d].
    masks: one a pass.
    orders: for each pass [N] int32, the tokens in the order that its mask is
      for, or None for the order they come in; None means None for all.
    bias: [B, N] float32 or None, see `attention`.
    scale: of the logits.
    implementation: a name in IMPLEMENTATIONS.

  Returns:
    In the order the tokens came in.
  """
  orders = [None] * len(masks) if orders is None else orders

  def one(mask, order):
    def ordered(x):
      return x if order is None or x is None else x[:, order]

    part = attend(
      ordered(query),
      ordered(key),
      ordered(value),
      mask=mask,
      bias=ordered(bias),
      scale=scale,
      implementation=implementation,
    )
    if order is None:
      return part
    back = jnp.argsort(order)
    return Attended(part.out[:, back], part.logsumexp[:, back])

  return merge(*(one(*each) for each in zip(masks, orders, strict=True)))
