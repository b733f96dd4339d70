"""The `xla` backend: gathers the listed blocks; see `sparse.Backend`.

Time and memory follow the tiles listed. Query blocks walk their lists with the
running softmax of FlashAttention (arXiv:2205.14135); in the backward pass they
walk them again, and key blocks walk the transposed lists, so that every
gradient is summed up in one place, in one order.
"""

import math

import jax
import jax.numpy as jnp

from trajvit.ops.attention.xla.walk import LOW, Tiles, by_key, by_query


def check(query, blocks, options):
  """Nothing is refused."""


def forward(query, key, value, bias, blocks, options):
  """Returns (out, logsumexp, tile_max or None, kept or None)."""
  batch, heads, _, dim = query.shape
  columns = blocks.classes.shape[3]
  skip = options.skip_below
  bias = None if bias is None else bias[:, None]

  def step(carry, query, keys, tiles):
    out, top, total, kept = carry
    key, value, bias = keys
    logits = _logits(query, key, _row(bias), tiles, options.scale)
    if skip is not None:
      near = _near(tiles.split(logits), top, math.log(skip))  # [R, TILES]
      kept |= tiles.spread(near, columns)
      logits = tiles.drop(logits, near)
    higher = jnp.maximum(top, logits.max(-1))
    weights = jnp.exp(logits - higher[..., None])
    shrink = jnp.exp(top - higher)
    out = shrink[..., None] * out + _product("rqk,rkd->rqd", weights, value)
    return out, higher, shrink * total + weights.sum(-1), kept

  zeros = jnp.zeros(blocks.block_query, jnp.float32)
  start = (
    jnp.zeros((blocks.block_query, dim), jnp.float32),
    zeros + LOW / 2,  # above a masked logit, so that its weight is 0
    zeros,
    None if skip is None else jnp.zeros(columns, bool),
  )
  walk = by_query(blocks, batch, heads)
  out, top, total, kept = walk.fold(query, (key, value, bias), start, step)
  some = total > 0
  out = jnp.where(some[..., None], out / total[..., None], 0)
  out = out.astype(query.dtype).reshape(query.shape)
  logsumexp = jnp.where(some, top + jnp.log(total), jnp.inf)
  logsumexp = logsumexp.reshape(query.shape[:3])
  tile_max = None
  if options.tile_max:
    walk = walk if kept is None else by_query(blocks.keep(kept), batch, heads)
    tile_max = _tile_max(query, key, bias, logsumexp, walk, options.scale)
  return out, logsumexp, tile_max, kept


def backward(
  query, key, value, bias, blocks, logsumexp, delta, out_grad, options
):
  """Returns (query_grad, key_grad, value_grad, bias_grad or None)."""
  batch, heads, _, dim = query.shape
  scale = options.scale
  queries = query, out_grad, logsumexp, delta
  keys = key, value, None if bias is None else bias[:, None]

  def query_step(query_grad, queries, keys, tiles):
    query, out_grad, logsumexp, delta = queries
    key, value, bias = keys
    logits = _logits(query, key, _row(bias), tiles, scale)
    weights = jnp.exp(logits - logsumexp[..., None])  # [R, query, key]
    inner = _product("rqd,rkd->rqk", out_grad, value)
    logits_grad = weights * (inner - delta[..., None])
    return query_grad + _product("rqk,rkd->rqd", logits_grad, key)

  def key_step(carry, keys, queries, tiles):
    key_grad, value_grad, bias_grad = carry
    key, value, bias = keys
    query, out_grad, logsumexp, delta = queries
    logits = _logits(key, query, _column(bias), tiles, scale)
    weights = jnp.exp(logits - _row(logsumexp))  # [R, key, query]
    inner = _product("rkd,rqd->rkq", value, out_grad)
    logits_grad = weights * (inner - _row(delta))
    key_grad += _product("rkq,rqd->rkd", logits_grad, query)
    value_grad += _product("rkq,rqd->rkd", weights, out_grad)
    if bias is not None:
      bias_grad += logits_grad.sum(-1)
    return key_grad, value_grad, bias_grad

  zeros = jnp.zeros((blocks.block_query, dim), jnp.float32)
  walk = by_query(blocks, batch, heads)
  query_grad = walk.fold(queries, keys, zeros, query_step)
  zeros = jnp.zeros((blocks.block_key, dim), jnp.float32)
  start = zeros, zeros, None if bias is None else zeros[:, 0]
  walk = by_key(blocks, batch, heads)
  key_grad, value_grad, bias_grad = walk.fold(keys, queries, start, key_step)
  if bias is not None:
    bias_grad = bias_grad.sum(1).reshape(bias.shape)
  return (
    (scale * query_grad).astype(query.dtype).reshape(query.shape),
    (scale * key_grad).astype(key.dtype).reshape(key.shape),
    value_grad.astype(value.dtype).reshape(value.shape),
    bias_grad,
  )


def _tile_max(query, key, bias, logsumexp, walk, scale):
  """[B, K, nq, nk], the largest weight in each tile, once all are known."""
  columns = key.shape[2] // walk.other_block

  def step(largest, queries, keys, tiles):
    query, logsumexp = queries
    key, bias = keys
    logits = _logits(query, key, _row(bias), tiles, scale)
    weights = jnp.exp(logits - logsumexp[..., None])
    weights = tiles.split(weights).max((1, 3))  # [R, TILES]
    return jnp.maximum(largest, tiles.spread(weights, columns))

  start = jnp.zeros(columns, jnp.float32)
  return walk.fold((query, logsumexp), (key, bias), start, step)


def _logits(own, other, bias, tiles: Tiles, scale):
  """[R, own, TILES * other] float32, LOW where not allowed."""
  logits = scale * _product("rid,rjd->rij", own, other)
  return tiles.mask(logits if bias is None else logits + bias)


def _near(logits, top, threshold):
  """[R, TILES] bool, tiles that BLASST (arXiv:2512.12087) keeps.

  Args:
    logits: [R, query, TILES, key].
    top: [R, query], the largest logit before these tiles.
    threshold: what a logit may lie below the largest before it.
  """
  tops = logits.max(-1)
  before = jnp.concatenate([top[..., None], tops[..., :-1]], axis=-1)
  # A tile left out lies below the running maximum: it need not be taken out.
  before = jax.lax.cummax(before, axis=2)
  return (tops >= before + threshold).any(1)


def _product(spec, first, second):
  """A batched product in the dtype of the data, summed in float32."""
  return jnp.einsum(
    spec,
    first.astype(second.dtype),
    second,
    preferred_element_type=jnp.float32,
  )


def _row(x):
  return None if x is None else x[:, None, :]


def _column(x):
  return None if x is None else x[:, :, None]
