"""Bipartite matching in as many rounds as a number of slots asks for.

One matching removes at most half of the tokens. Fewer slots take more rounds, a
loop in Python whose length follows from the shapes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.bipartite import Pairs, match, plan_pairs, split_every
from trajvit.ops.merging import Merging, merge
from trajvit.ops.reduction_schedule import at_most_half
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


def slots_of_rounds(
  count: int, k: int, *, protected: int = 0
) -> tuple[int, ...]:
  """Returns the slots that each round of matching needs, k in the end.

  Args:
    count: slots before the first round; () comes back if that is k already.
    k: slots in the end.
    protected: tokens of a clip that never merge.

  Raises:
    ValueError: k is not in [protected + 1, count].
  """
  if not protected < k <= count:
    raise ValueError(f"k must be in [{protected + 1}, {count}], got {k}")
  slots = []
  while count > k:
    (removed,) = at_most_half([count - k], count, protected=protected)
    count -= removed
    slots.append(count)
  return tuple(slots)


def excess(mask: jax.Array, slots: int) -> jax.Array:
  """Returns [B] int32, by how much the real ones of [B, N] exceed the slots."""
  return jnp.maximum(mask.sum(1, dtype=jnp.int32) - slots, 0)


def alternating_pairs(tokens: Tokens, metric: jax.Array) -> Pairs:
  """Returns the best pairs where every second real token may be joined.

  Args:
    tokens: N tokens a clip.
    metric: [B, N, d], what is compared, see `bipartite.match`.
  """
  return match(
    metric,
    split_every(tokens.mask),
    mask=tokens.mask,
    protected=tokens.protected,
  )


def merge_along(
  x: jax.Array,
  tokens: Tokens,
  merging: Merging,
  *,
  weight: jax.Array | None = None,
) -> jax.Array:
  """Returns the means [B, K, d] of something else that the tokens have.

  Args:
    x: [B, N, d].
    tokens: those the plan was made for, before they are merged.
    merging: the plan.
    weight: [B, N], see `merging.merge`.
  """
  return merge(
    dataclasses.replace(tokens, features=x), merging, weight=weight
  ).features


def merge_to_fit(
  tokens: Tokens,
  metric: jax.Array,
  k: int,
  *,
  protected: int = 1,
  order: str = "slots",
  saliency: jax.Array | None = None,
) -> tuple[Tokens, jax.Array]:
  """Returns k tokens a clip, and what did not fit.

  In every round tokens alternate between the two sets, the most similar pairs
  merge, and what was compared is merged along with them, by the same weights,
  so that the next round compares means. Every round merges all that it can and
  that does not fit k, so that a clip with padding is merged as it is without.

  Args:
    tokens: N tokens a clip.
    metric: [B, N, d], what is compared by its cosine; no gradient passes.
    k: slots in the end.
    protected: how many tokens of a clip are protected at the most; the number
      of rounds follows from it. Not read where `tokens.protected` is None.
    order: of the merged tokens, see `bipartite.plan_pairs`.
    saliency: [B, N] in [0, 1], the share of its size with which a token counts
      that joins another; None is 1. No gradient passes.

  Returns:
    The tokens, and [B] int32, tokens that were lost: 0 unless more are
    protected than was said, or nothing could be joined.

  Raises:
    ValueError: k is not in [protected + 1, N].
  """
  protected = 0 if tokens.protected is None else protected
  rounds = slots_of_rounds(tokens.mask.shape[1], k, protected=protected)
  tokens = zero_masked(tokens)
  along = metric.astype(jnp.float32)
  if saliency is not None:
    along = jnp.concatenate([along, saliency[..., None]], axis=-1)
  along = jax.lax.stop_gradient(along)
  overflow = jnp.zeros(tokens.mask.shape[0], jnp.int32)
  width = metric.shape[-1]
  for slots in rounds:
    merging = plan_pairs(
      alternating_pairs(tokens, along[..., :width]),
      excess(tokens.mask, k),
      mask=tokens.mask,
      protected=tokens.protected,
      slots=slots,
      order=order,
    )
    overflow += merging.overflow
    weight = None
    if saliency is not None:
      share = jnp.where(merging.absorbed, along[..., width], 1)
      weight = tokens.size * share
    along, tokens = (
      merge_along(along, tokens, merging, weight=weight),
      merge(tokens, merging, weight=weight),
    )
  return tokens, overflow
