"""Where a merged token is, apart from the mean of its members (`ops.merging`).

Absolute positions that were added before the first block need neither: they are
in the features, and merged with them.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.merging import Merging, take_slots


def head_positions(positions: jax.Array, merging: Merging) -> jax.Array:
  """Returns the position of the token that the others of a slot joined.

  Args:
    positions: [B, N, 3] float32.
    merging: a plan of N tokens and K slots.

  Returns:
    [B, K, 3], zeros in empty slots.
  """
  at = jnp.take_along_axis(positions, merging.head[..., None], axis=1)
  return jnp.where(merging.mask[..., None], at, 0)


def member_positions(
  positions: jax.Array, merging: Merging, k: int, *, weight: jax.Array
) -> jax.Array:
  """Returns the positions of the k members of a slot that weigh most.

  Rotary embeddings turn every pair of channels by itself, so that a token can
  be in k places at once, each of which turns a share of the pairs. A slot with
  fewer members repeats them in turn; a token that is alone has its own position
  k times. Source: PPE, arXiv:2510.22936; its released code sorts weights and
  members apart from each other, here the weights decide.

  Args:
    positions: [B, N, 3] float32.
    merging: a plan of N tokens and K slots.
    k: positions a slot.
    weight: [B, N] float, such as the size; of equals the lower slot is first.

  Returns:
    [B, K, k, 3], by falling weight; zeros in empty slots.

  Raises:
    ValueError: k is less than 1.
  """
  if k < 1:
    raise ValueError(f"k must be at least 1, got {k}")
  batch, slots = merging.mask.shape
  owner = jnp.where(merging.owner < 0, slots, merging.owner)
  # The members of a slot follow each other in `order`; the first key is last.
  order = jnp.lexsort((-jax.lax.stop_gradient(weight), owner))  # [B, N]
  count = (owner[..., None] == jnp.arange(slots)).sum(1)  # [B, K]
  start = jnp.cumsum(count, axis=1) - count
  turn = jnp.arange(k) % jnp.maximum(count, 1)[..., None]  # [B, K, k]
  last = positions.shape[1] - 1  # where an empty slot would start behind it
  place = jnp.minimum(start[..., None] + turn, last)
  member = take_slots(order, place.reshape(batch, -1))
  at = jnp.take_along_axis(positions, member[..., None], axis=1)
  at = at.reshape(batch, slots, k, -1)
  return jnp.where(merging.mask[..., None, None], at, 0)
