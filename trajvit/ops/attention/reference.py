"""Attention in plain JAX, logits and all: what the rest is tested by.

On a mesh whose axis `context` cuts tokens, every device has its own queries
and gets all keys.
"""

import jax
import jax.numpy as jnp

from trajvit.mesh import laid_out
from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.sparse import Attended


def reference(
  query, key, value, *, mask, bias, scale, cap: float | None = None
) -> Attended:
  """Returns attention over [B, K, Nq, Nk] logits; see `attend`.

  With a cap c, c * tanh(logits / c) is in the place of the scaled logits.
  """
  queries, keys = _real(mask)
  query, key, value = (
    _zero(queries, query),
    _zero(keys, key),
    _zero(keys, value),
  )
  query = laid_out(query, "batch", "tokens", "heads")
  key, value = (laid_out(x, "batch", None, "heads") for x in (key, value))
  logits = jnp.einsum(
    "bqkd,bskd->bkqs", query, key, preferred_element_type=jnp.float32
  )
  logits *= scale
  if cap is not None:
    logits = cap * jnp.tanh(logits / cap)
  if bias is not None:
    logits += _zero(keys, bias)[:, None, None, :]
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
  # What becomes of the output of a padding query has no gradient.
  out = laid_out(_zero(queries, out), "batch", "tokens", "heads")
  return Attended(out=out, logsumexp=logsumexp.swapaxes(1, 2))


def _allowed(mask: AttentionMask | BlockMask, heads: int) -> jax.Array | None:
  """[B or 1, K or 1, Nq or 1, Nk] bool, or None."""
  if isinstance(mask, AttentionMask):
    return mask.allowed()
  allowed = mask.dense()
  return jnp.repeat(allowed, heads // allowed.shape[1], axis=1)


def _real(mask: AttentionMask | BlockMask) -> tuple:
  """[B or 1, Nq] and [B or 1, Nk] bool, what is not padding; None for all."""
  if isinstance(mask, AttentionMask):
    return None, mask.keys
  return (
    mask.query.valid()[:, : mask.query_length],
    mask.key.valid()[:, : mask.key_length],
  )


def _zero(real, x):
  """Zeros in padding: a NaN there would reach real tokens through 0 * NaN."""
  if real is None:
    return x
  return jnp.where(real.reshape(*real.shape, *(1,) * (x.ndim - 2)), x, 0)
