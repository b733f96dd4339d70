"""Routing attention: a token attends to those that share its centroid.

Source: Routing Transformer, arXiv:2003.05997. Queries and keys are compared
with centroids on the unit sphere; centroids follow them by a moving average and
have no gradient. Differences: only the routing is done with unit vectors, the
attention itself is that of the given queries and keys; a centroid follows the
mean of its members and stays on the sphere.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import from_pattern
from trajvit.ops.attention.coordinates import Coordinates, sequence
from trajvit.ops.attention.dynamic.heads import (
  gather_heads,
  gather_keys,
  split_heads,
)
from trajvit.ops.attention.dynamic.select import ranks
from trajvit.ops.attention.entry import attention
from trajvit.ops.attention.pattern import Dense


def similarity(x: jax.Array, centroids: jax.Array) -> jax.Array:
  """Returns [B, K, N, C] float32, cosines, without gradient.

  Args:
    x: [B, N, K, d].
    centroids: [K, C, d] of norm 1.
  """
  x = _unit(jax.lax.stop_gradient(x))
  return jnp.einsum("bnhd,hcd->bhnc", x, jax.lax.stop_gradient(centroids))


def routed_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  centroids: jax.Array,
  coordinates: Coordinates,
  *,
  bias: jax.Array | None = None,
  block: int = 128,
) -> jax.Array:
  """Returns attention between queries and keys whose nearest centroid is one.

  Queries, and keys, are sorted by clip and centroid, which makes the tiles
  block-diagonal, and the result is put back in order. Clips of a packed row do
  not see each other.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    value: [B, N, K, d].
    centroids: [K, C, d] of norm 1.
    coordinates: [B or 1, N].
    bias: [B, N] float32 on the logits of keys, or None.
    block: tokens in a block.

  Returns:
    [B, N, K, d]; 0 for a query whose centroid is no key's nearest.
  """
  batch, length, heads, _ = query.shape
  segments = jnp.broadcast_to(coordinates.segment, (batch, length))[:, None]

  def sort(x):
    """Order, its inverse, and the sorted Coordinates, [B * K, N]."""
    cluster = similarity(x, centroids).argmax(-1)
    cluster = segments * centroids.shape[1] + cluster
    cluster = jnp.where(segments < 0, -1, cluster)  # [B, K, N]
    last = jnp.iinfo(jnp.int32).max
    order, inverse = ranks(-jnp.where(cluster < 0, last, cluster))
    cluster = jnp.take_along_axis(cluster, order, axis=2)
    return order, inverse, sequence(length, None, cluster.reshape(-1, length))

  query_order, inverse, rows = sort(query)
  key_order, _, columns = sort(key)
  blocks = dict(block_query=block, block_key=block)
  out = attention(
    gather_heads(query, query_order),
    gather_heads(key, key_order),
    gather_heads(value, key_order),
    mask=from_pattern(Dense(), rows, columns, **blocks),
    bias=None if bias is None else gather_keys(bias, key_order),
  )
  out = jnp.take_along_axis(split_heads(out, heads), inverse[..., None], axis=2)
  return out.swapaxes(1, 2)


def balanced_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  centroids: jax.Array,
  coordinates: Coordinates,
  *,
  members: int,
  bias: jax.Array | None = None,
  block: int = 128,
) -> jax.Array:
  """Returns attention among the nearest queries and keys of each centroid.

  All clusters are of one size, so that the cost is fixed; a token may be in
  several, and its result is then their mean, or in none, and it is 0.

  Args:
    query: [B, N, K, d].
    key: [B, N, K, d].
    value: [B, N, K, d].
    centroids: [K, C, d] of norm 1.
    coordinates: [B or 1, N], of rows that are one clip each: members are chosen
      among all tokens of a row.
    members: w, queries and keys of a centroid; more than N means N.
    bias: [B, N] float32 on the logits of keys, or None.
    block: tokens in a block.

  Returns:
    [B, N, K, d].
  """
  batch, length, heads, dim = query.shape
  clusters, members = centroids.shape[1], min(members, length)
  real = jnp.broadcast_to(coordinates.valid(), (batch, length))
  number = jnp.repeat(jnp.arange(clusters), members)

  def choose(x):
    """Indices [B, K, C w], which are used, and Coordinates [B * K, C w]."""
    near = similarity(x, centroids).swapaxes(2, 3)  # [B, K, C, N]
    order, _ = ranks(jnp.where(real[:, None, None], near, -jnp.inf))
    indices = order[..., :members].reshape(batch, heads, -1)
    used = jnp.take_along_axis(real[:, None], indices, axis=2)
    segments = jnp.where(used, number, -1).reshape(batch * heads, -1)
    return indices, used, sequence(number.size, None, segments)

  query_indices, used, rows = choose(query)
  key_indices, _, columns = choose(key)
  blocks = dict(block_query=block, block_key=block)
  out = attention(
    gather_heads(query, query_indices),
    gather_heads(key, key_indices),
    gather_heads(value, key_indices),
    mask=from_pattern(Dense(), rows, columns, **blocks),
    bias=None if bias is None else gather_keys(bias, key_indices),
  )
  out = jnp.where(used[..., None], split_heads(out, heads), 0)

  def back(indices, used, out):
    total = jnp.zeros((length, dim), jnp.float32).at[indices].add(out)
    times = jnp.zeros((length, 1), jnp.float32).at[indices].add(used[:, None])
    return (total / jnp.maximum(times, 1)).astype(out.dtype)

  out = jax.vmap(jax.vmap(back))(query_indices, used, out)  # [B, K, N, d]
  return out.swapaxes(1, 2)


def moved_centroids(
  centroids: jax.Array,
  query: jax.Array,
  key: jax.Array,
  coordinates: Coordinates,
  *,
  decay: float = 0.999,
) -> jax.Array:
  """Returns [K, C, d] float32 of norm 1, moved towards their members.

  A centroid goes to decay * itself + (1 - decay) * the mean of the unit queries
  and keys nearest to it, over the whole batch; one without any stays.

  Args:
    centroids: [K, C, d] of norm 1.
    query: [B, N, K, d].
    key: [B, N, K, d].
    coordinates: [B or 1, N]; padding belongs to no centroid.
    decay: in [0, 1].
  """
  both = jnp.concatenate([query, key], axis=1)
  real = jnp.broadcast_to(coordinates.valid(), query.shape[:2])
  real = jnp.concatenate([real, real], axis=1)
  nearest = similarity(both, centroids).argmax(-1)  # [B, K, 2N]
  member = jax.nn.one_hot(nearest, centroids.shape[1])
  member = jnp.where(real[:, None, :, None], member, 0)
  unit = jnp.where(real[..., None, None], _unit(both), 0)
  total = jnp.einsum("bhnc,bnhd->hcd", member, unit)
  count = member.sum((0, 2))[..., None]  # [K, C, 1]
  mean = total / jnp.maximum(count, 1)
  moved = decay * centroids + (1 - decay) * mean
  return jax.lax.stop_gradient(jnp.where(count > 0, _unit(moved), centroids))


def _unit(x):
  """x / |x| in float32; 0 stays 0."""
  x = x.astype(jnp.float32)
  square = jnp.square(x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
