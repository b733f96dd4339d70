"""Merging tokens: the plan, the weighted means, and the way back.

A method says for every token which other one it joins. What follows is the same
for all methods: `plan_merging` finds the slots, `merge` makes the tokens and
`unmerge` spreads what became of them over those they came from.
"""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Merging:
  """Which of N tokens share which of K slots.

  Attributes:
    owner: [B, N] int32 in [0, K), the slot a token ends up in; -1 = masked, or
      it found no slot.
    head: [B, K] int32 in [0, N), the token that the others of a slot joined;
      any in empty slots.
    mask: [B, K] bool, the slots that hold a token, the first ones of a clip.
    absorbed: [B, N] bool, the tokens that joined another.
    overflow: [B] int32, real tokens that found no slot.
  """

  owner: jax.Array
  head: jax.Array
  mask: jax.Array
  absorbed: jax.Array
  overflow: jax.Array

  @property
  def merged(self) -> jax.Array:
    """[B] int32, how many tokens joined another."""
    return self.absorbed.sum(1, dtype=jnp.int32)


def plan_merging(
  target: jax.Array,
  mask: jax.Array,
  *,
  slots: int,
  protected: jax.Array | None = None,
  order: jax.Array | None = None,
) -> Merging:
  """Returns the plan by which every token joins its target.

  Args:
    target: [B, N] int32 in [0, N), the token that each one joins, itself where
      it stays. A token whose target is masked, or does not stay, is counted as
      overflow: chains are not followed.
    mask: [B, N] bool; masked slots join nothing.
    slots: K in [1, N]. Where more tokens stay than this, the last of them find
      no slot, protected ones after all others.
    protected: [B, N] bool, or None.
    order: [B, N] int32, a permutation of the slots: the order of those that
      stay. None leaves them in the one they have.

  Raises:
    ValueError: `slots` is out of range.
  """
  count = mask.shape[1]
  if not 1 <= slots <= count:
    raise ValueError(f"slots must be in [1, {count}], got {slots}")
  own = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32), mask.shape)
  order = own if order is None else order
  stays = mask & (target == own)
  first = stays if protected is None else stays & protected
  rest = stays & ~first

  # From here to `slot` along `order`.
  stays, first, rest = (take_slots(x, order) for x in (stays, first, rest))
  held = first.sum(1, keepdims=True)
  place = jnp.where(
    first, jnp.cumsum(first, axis=1), held + jnp.cumsum(rest, axis=1)
  )
  fits = stays & (place <= slots)
  slot = jnp.where(fits, jnp.cumsum(fits, axis=1) - 1, -1)

  slot_of = take_slots(slot, jnp.argsort(order, axis=1))  # [B, N]
  owner = jnp.where(mask, take_slots(slot_of, target), -1)
  heads = jnp.argsort(~fits, axis=1, stable=True)[:, :slots]
  lost = mask & (owner < 0)
  return Merging(
    owner=owner.astype(jnp.int32),
    head=take_slots(order, heads).astype(jnp.int32),
    mask=jnp.arange(slots) < fits.sum(1, keepdims=True),
    absorbed=mask & (target != own) & ~lost,
    overflow=lost.sum(1, dtype=jnp.int32),
  )


def merge(
  tokens: Tokens, merging: Merging, *, weight: jax.Array | None = None
) -> Tokens:
  """Returns one token for each slot, the mean of its members by size.

  Args:
    tokens: N tokens a clip, those the plan was made for.
    merging: the plan.
    weight: [B, N] float, not negative, takes the place of the size in means and
      in sums; None is the size. It has a gradient.

  Returns:
    K tokens: features, in their old dtype, and positions are means by weight,
    sizes are sums of it. A member that is alone is unchanged bit for bit; where
    no member has any weight, as registers have none, all count alike.
    `protected` is that of the head.

  Raises:
    ValueError: the tokens are packed.
  """
  if tokens.segments is not None:
    raise ValueError("merge before packing: packed rows hold several clips")
  tokens = zero_masked(tokens)
  weight = tokens.size if weight is None else weight
  share, size = _shares(merging, jnp.where(tokens.mask, weight, 0))

  def mean(x):
    mixed = jnp.einsum(
      "bnk,bnd->bkd",
      share,
      x.astype(jnp.float32),
      precision=jax.lax.Precision.HIGHEST,
    )
    return mixed.astype(x.dtype)

  protected = tokens.protected
  if protected is not None:
    protected = take_slots(protected, merging.head) & merging.mask
  return Tokens(
    features=mean(tokens.features),
    mask=merging.mask,
    positions=mean(tokens.positions),
    size=size,
    protected=protected,
  )


def unmerge(x: jax.Array, merging: Merging) -> jax.Array:
  """Returns for every token what its slot holds.

  Args:
    x: [B, K, ...], what became of the merged tokens.
    merging: the plan they were merged by.

  Returns:
    [B, N, ...], zeros for tokens that are in no slot.
  """
  owner = merging.owner.reshape(merging.owner.shape + (1,) * (x.ndim - 2))
  spread = jnp.take_along_axis(x, jnp.maximum(owner, 0), axis=1)
  return jnp.where(owner >= 0, spread, 0).astype(x.dtype)


def take_slots(x: jax.Array, indices: jax.Array) -> jax.Array:
  """Returns x[b, indices[b, i]]; [B, N] at [B, M] in [0, N) -> [B, M]."""
  return jnp.take_along_axis(x, indices, axis=1)


def _shares(merging, weight):
  """The share [B, N, K] of a token in a slot, and the slot's weight [B, K]."""
  slots = merging.mask.shape[1]
  member = jax.nn.one_hot(merging.owner, slots, dtype=jnp.float32)  # [B, N, K]
  weight = weight.astype(jnp.float32)[..., None]  # [B, N, 1]
  # A sum and no product of matrices, so that sizes are exact on a TPU too.
  size = (member * weight).sum(1, keepdims=True)  # [B, 1, K]
  count = member.sum(1, keepdims=True)
  # One that is alone has a share of 1: w / w may be compiled to something less.
  weighs = (size > 0) & (count > 1)
  share = member * jnp.where(weighs, weight, 1)
  return share / jnp.where(weighs, size, jnp.maximum(count, 1)), size[:, 0]
