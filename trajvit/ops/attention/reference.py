"""Attention in plain JAX, logits and all: what the rest is tested by."""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.sparse import Attended


def reference(query, key, value, *, mask, bias, scale) -> Attended:
  """Returns attention over [B, K, Nq, Nk] logits; see `attend`."""
  query, key, value = _zero_padding(mask, query, key, value)
  logits = jnp.einsum(
    "bqkd,bskd->bkqs", query, key, preferred_element_type=jnp.float32
  )
  logits *= scale
  if bias is not None:
    logits += bias[:, None, None, :]
  allowed = _allowed(mask, query.shape[2])
  if allowed is None:
    weights = jax.nn.softmax(logits, axis=-1)
    logsumexp = jax.nn.logsumexp(logits, axis=-1)
  else:
    # A finite floor, so that a row without keys has a finite softmax, which
    # the second `where` then makes exactly 0.
    floor = jnp.finfo(jnp.float32).min
    weights = jax.nn.softmax(jnp.where(allowed, logits, floor), axis=-1)
    weights = jnp.where(allowed, weights, 0)
    logsumexp = jax.nn.logsumexp(logits, axis=-1, where=allowed)
  out = jnp.einsum("bkqs,bskd->bqkd", weights.astype(value.dtype), value)
  return Attended(out=out, logsumexp=logsumexp.swapaxes(1, 2))


def _allowed(mask: AttentionMask | BlockMask, heads: int) -> jax.Array | None:
  """[B or 1, K or 1, Nq or 1, Nk] bool, or None."""
  if isinstance(mask, AttentionMask):
    return mask.allowed()
  allowed = mask.dense()
  return jnp.repeat(allowed, heads // allowed.shape[1], axis=1)


def _zero_padding(mask, query, key, value):
  """Zeros in padding: a NaN there would reach real tokens through 0 * NaN."""

  def clean(real, x):
    return x if real is None else jnp.where(real[:, :, None, None], x, 0)

  if isinstance(mask, AttentionMask):
    return query, clean(mask.keys, key), clean(mask.keys, value)
  real = mask.key.valid()[:, : mask.key_length]
  query = clean(mask.query.valid()[:, : mask.query_length], query)
  return query, clean(real, key), clean(real, value)
