"""Merging by similarity until what is left fits its slots."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.merging import Merging, plan_merging, take_slots
from trajvit.ops.selection import highest


def most_similar(
  similarity: jax.Array, count: jax.Array, threshold: float | None = None
) -> jax.Array:
  """Returns which tokens are to join: the `count` most similar to another.

  Args:
    similarity: [B, N] float32, of a token with the one it would join; -inf
      where there is none. Of equals the lower slot joins.
    count: [B] int32, at most so many join.
    threshold: none of a similarity below it joins; None sets no limit.

  Returns:
    [B, N] bool.
  """
  similarity = jax.lax.stop_gradient(similarity)
  rank = jnp.argsort(jnp.argsort(-similarity, axis=1), axis=1)
  joins = (rank < count[:, None]) & (similarity > -jnp.inf)
  return joins if threshold is None else joins & (similarity >= threshold)


def plan_best(
  target: jax.Array,
  mask: jax.Array,
  score: jax.Array,
  *,
  slots: int,
  protected: jax.Array | None = None,
) -> Merging:
  """Returns the plan by which tokens join their targets, the best of those.

  As `merging.plan_merging`, which leaves the first ones if they are too many.

  Args:
    target: [B, N] int32 in [0, N), the token that each one joins, itself where
      it stays.
    mask: [B, N] bool; masked slots join nothing.
    score: [B, N] float, of the tokens that stay: with those of the least score
      all who joined them are lost, and counted as `overflow`.
    slots: K in [1, N].
    protected: [B, N] bool, stay whatever their score; or None.

  Raises:
    ValueError: `slots` is out of range.
  """
  own = jnp.arange(mask.shape[1])
  heads = mask & (target == own)
  chosen = highest(score, slots, mask=heads, protected=protected)
  stays = heads & (chosen[..., None] == own).any(1)
  placed = mask & take_slots(stays, target)
  plan = plan_merging(target, placed, slots=slots, protected=protected)
  lost = (mask & ~placed).sum(1, dtype=jnp.int32)
  return dataclasses.replace(plan, overflow=lost)
