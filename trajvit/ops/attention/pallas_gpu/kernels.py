"""The three kernels: what a program does with the tiles it walks over.

A kernel takes `lists`, references to the program's own row of them; `own`,
references to arrays of the tokens that it owns; `other`, to arrays of all
tokens of the other side; then its outputs.

Source: FlashAttention-2, arXiv:2307.08691, over lists of blocks.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.pallas_gpu.walk import FLOOR, LOG2_E, across, through


def forward(lists, own, other, out, logsumexp, *, walk):
  """Softmax over the keys so far, rescaled when a larger logit comes."""
  query, column = own[0][...], _column(own[1])
  key, value, bias, keys = other

  def tile(carry, where, partial):
    top, total, mixed = carry
    places = (column, _row(keys, where)) if partial else None
    logits = walk.logits(query, key[where], _row(bias, where), places)
    larger = jnp.maximum(top, logits.max(1))
    # Before there is any key: exp2(FLOOR - 0) is 0, exp2(0) would be 1.
    origin = jnp.where(larger > FLOOR, larger, 0)
    weights = jnp.exp2(logits - origin[:, None])
    shrink = jnp.exp2(top - origin)
    new = through(weights.astype(value.dtype), value[where])
    mixed = mixed * shrink[:, None] + new
    return larger, total * shrink + weights.sum(1), mixed

  top = jnp.full(query.shape[0], FLOOR, jnp.float32)
  start = top, jnp.zeros_like(top), jnp.zeros(query.shape, jnp.float32)
  top, total, mixed = walk.fold(lists, tile, start)
  seen = total > 0
  total = jnp.where(seen, total, 1)
  out[...] = (mixed / total[:, None]).astype(out.dtype)
  natural = (top + jnp.log2(total)) / LOG2_E
  logsumexp[...] = jnp.where(seen, natural, jnp.inf)


def query_gradient(lists, own, other, query_grad, *, walk):
  """Gradient of queries."""
  query, out_grad, logsumexp, delta = (ref[...] for ref in own[:4])
  logsumexp, delta = (logsumexp * LOG2_E)[:, None], delta[:, None]
  column = _column(own[4])
  key, value, bias, keys = other

  def tile(total, where, partial):
    places = (column, _row(keys, where)) if partial else None
    logits = walk.logits(query, key[where], _row(bias, where), places)
    weights = jnp.exp2(logits - logsumexp)
    logits_grad = weights * (across(out_grad, value[where]) - delta)
    return total + through(logits_grad.astype(key.dtype), key[where])

  total = walk.fold(lists, tile, jnp.zeros(query.shape, jnp.float32))
  query_grad[...] = (total * walk.scale).astype(query_grad.dtype)


def key_gradients(lists, own, other, key_grad, value_grad, *bias_grad, walk):
  """Gradients of keys, values and bias. Logits stand keys by queries here, so
  that no product takes a transposed tile of weights."""
  key, value = own[0][...], own[1][...]
  bias, column = _column(own[2]), _column(own[3])
  query, out_grad, logsumexp, delta, queries = other

  def tile(totals, where, partial):
    places = (_row(queries, where), column) if partial else None
    logits = walk.logits(key, query[where], bias, places)
    weights = jnp.exp2(logits - _row(logsumexp, where) * LOG2_E)
    change = across(value, out_grad[where]) - _row(delta, where)
    logits_grad = weights * change
    new = [
      through(logits_grad.astype(query.dtype), query[where]),
      through(weights.astype(out_grad.dtype), out_grad[where]),
    ]
    if bias is not None:
      new.append(logits_grad.sum(1))
    return [total + each for total, each in zip(totals, new, strict=True)]

  zeros = [jnp.zeros(key.shape, jnp.float32)] * 2
  if bias is not None:
    zeros.append(jnp.zeros(key.shape[0], jnp.float32))
  totals = walk.fold(lists, tile, zeros)
  key_grad[...] = (totals[0] * walk.scale).astype(key_grad.dtype)
  value_grad[...] = totals[1].astype(value_grad.dtype)
  for ref, total in zip(bias_grad, totals[2:], strict=True):
    ref[...] = total


def _column(tree):
  """References to [n] read as [n, 1]."""
  return jax.tree.map(lambda ref: ref[...][:, None], tree)


def _row(tree, where):
  """Slices of references to [N] read as [1, n]."""
  return jax.tree.map(lambda ref: ref[where][None], tree)
