"""Learned mixtures of tokens: where they are, and what they stand for.

A token that reads a whole clip stands for no patches in particular. All methods
that make such tokens tell their positions and sizes by one rule, the one here.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.selection import select
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


def unprotected(tokens: Tokens) -> Tokens:
  """Returns the tokens that may be mixed: protected ones are masked, too."""
  mask = tokens.mask
  if tokens.protected is not None:
    mask = mask & ~tokens.protected
  return zero_masked(dataclasses.replace(tokens, mask=mask, protected=None))


def average(shares: jax.Array, x: jax.Array) -> jax.Array:
  """Returns mixtures [..., M, D] float32 of x by `shares`.

  Args:
    shares: [..., M, N] float32, 0 for masked tokens.
    x: [..., N, D] of any float dtype, zeros in masked slots.
  """
  return jnp.einsum(
    "...mn,...nd->...md",
    shares,
    x.astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )


def mixtures(
  source: Tokens,
  features: jax.Array,
  positions: jax.Array,
  *,
  count: jax.Array | None = None,
) -> Tokens:
  """Returns M tokens in place of those they were mixed from.

  They share the size of the source evenly, so that sizes still add up to the
  patches of the clip. A source without a real token has none.

  Args:
    source: N tokens, zeros in masked slots.
    features: [B, M, D] of any float dtype; that of the source is returned.
    positions: [B, M, 3] float32, the means of the source's positions by the
      shares that the features were mixed by.
    count: [B, 1] int32 in [0, M], mask all but the first so many, which then
      share the size; None masks none.
  """
  shape = features.shape[:2]
  count = shape[1] if count is None else count
  some = source.mask.any(1, keepdims=True) & (jnp.arange(shape[1]) < count)
  size = source.size.sum(1, keepdims=True) / jnp.maximum(count, 1)
  new = Tokens(
    features=features.astype(source.features.dtype),
    mask=jnp.broadcast_to(some, shape),
    positions=positions.astype(jnp.float32),
    size=jnp.broadcast_to(size, shape),
  )
  return zero_masked(new)


def behind_protected(tokens: Tokens, new: Tokens, k: int) -> Tokens:
  """Returns k slots: the protected tokens of a clip, then the new ones.

  Args:
    tokens: N tokens a clip; the protected ones are among the first k.
    new: M tokens; the last of them are left out where all do not fit.
    k: slots, the last of which are masked where there is too little.

  Raises:
    ValueError: k is not in [1, min(N, k) + M].
  """
  protected = jnp.zeros_like(tokens.mask)
  if tokens.protected is not None:
    protected = tokens.mask & tokens.protected
  front = dataclasses.replace(
    tokens, mask=protected, protected=protected, segments=None
  )
  back = dataclasses.replace(new, protected=jnp.zeros_like(new.mask))

  def join(x, y):
    return jnp.concatenate([x[:, :k], y.astype(x.dtype)], axis=1)

  return select(jax.tree.map(join, front, back), (), k)[0]
