"""Keeping the tokens of highest score, with exact ties."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.ops.tokens import take, zero_masked
from trajvit.types import Tokens


def highest(
  keys: jax.Array | Sequence[jax.Array],
  k: int,
  *,
  mask: jax.Array,
  protected: jax.Array | None = None,
) -> jax.Array:
  """Returns the k slots that are preferred, in their old order.

  Protected slots come before all others and masked ones after; in between the
  highest first key decides, among equals the second, and so on, in the end the
  lower slot. NaN is less than any number. No gradient passes to the keys.

  Args:
    keys: [B, N] of any real dtype, or several of them.
    k: how many, in [1, N].
    mask: [B, N] bool; the first masked slots fill up what a clip has too few
      of, whatever their keys.
    protected: [B, N] bool, or None.

  Returns:
    [B, k] int32: the real slots, rising, then the masked ones, rising.

  Raises:
    ValueError: k is out of range, or a key has another shape than the mask.
  """
  slots = mask.shape[1]
  if not 1 <= k <= slots:
    raise ValueError(f"k must be in [1, {slots}], got {k}")
  keys = keys if isinstance(keys, tuple | list) else (keys,)
  for key in keys:
    if key.shape != mask.shape:
      raise ValueError(f"keys must be {mask.shape}, got {key.shape}")
  rank = jnp.where(mask, 1, 2)
  if protected is not None:
    rank = jnp.where(mask & protected, 0, rank)
  falling = [_falling(key, mask) for key in keys]
  # The last key of a lexsort is the first to decide.
  chosen = jnp.lexsort((*reversed(falling), rank))[:, :k]  # [B, k]
  real = jnp.take_along_axis(mask, chosen, axis=1)
  ordered = jnp.sort(jnp.where(real, chosen, chosen + slots), axis=1)
  return (ordered % slots).astype(jnp.int32)


def select(
  tokens: Tokens, keys: jax.Array | Sequence[jax.Array], k: int
) -> tuple[Tokens, jax.Array]:
  """Returns the k tokens of highest score, and the slots [B, k] they were in.

  Args:
    tokens: N tokens a clip. A clip with fewer than k real ones keeps them all.
    keys: [B, N], the score, or several, see `highest`.
    k: how many.

  Raises:
    ValueError: as `highest`.
  """
  protected = tokens.protected
  indices = highest(keys, k, mask=tokens.mask, protected=protected)
  return zero_masked(take(tokens, indices)), indices


def select_marked(
  tokens: Tokens,
  marked: jax.Array,
  k: int,
  keys: jax.Array | Sequence[jax.Array] = (),
) -> tuple[Tokens, jax.Array, jax.Array]:
  """Returns the marked tokens of a clip, at most k of them.

  For methods that decide token by token, so that the count depends on the clip.

  Args:
    tokens: N tokens a clip.
    marked: [B, N] bool; protected tokens are kept with or without a mark.
    k: slots afterwards.
    keys: [B, N], one or several, that decide as in `highest` which tokens stay
      where more than k are marked; none leaves the first.

  Returns:
    The tokens in their old order, the slots [B, k] int32 they were in, and
    [B] int32, how many marked ones found no place.

  Raises:
    ValueError: as `highest`.
  """
  if tokens.protected is not None:
    marked = marked | tokens.protected
  marked = marked & tokens.mask
  kept, indices = select(dataclasses.replace(tokens, mask=marked), keys, k)
  overflow = jnp.maximum(marked.sum(1, dtype=jnp.int32) - k, 0)
  return kept, indices, overflow


def _falling(key, mask):
  """What rises where `key` falls, the same in all masked slots."""
  key = jax.lax.stop_gradient(jnp.asarray(key))
  key = jnp.where(mask, key, jnp.zeros_like(key))
  # The least integer is its own negative; its complement is the largest.
  return -key if jnp.issubdtype(key.dtype, jnp.floating) else ~key
