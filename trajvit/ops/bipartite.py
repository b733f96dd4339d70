"""Bipartite soft matching: which pairs of similar tokens are to merge.

Source: ToMe, arXiv:2210.09461. Tokens are split into sources and destinations,
every source finds its most similar destination, and the r most similar sources
join theirs. Here ties go to the lower slot, and sets are counted along the real
tokens of a clip, so that padding changes no pair.
"""

import dataclasses
import numbers

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.merging import Merging, plan_merging, take_slots
from trajvit.ops.selection import highest
from trajvit.ops.unit import unit

ORDERS = ("slots", "sets", "similarity")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Split:
  """Every slot is in one of two sets.

  Attributes:
    sources: [B, S] int32 in [0, N), slots of tokens that may join another.
    destinations: [B, N - S] int32, slots of those that may be joined.
  """

  sources: jax.Array
  destinations: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pairs:
  """The best destination of every source.

  Attributes:
    split: the sets.
    destination: [B, S] int32 in [0, N), the slot each source would join.
    similarity: [B, S] float32, their cosine; -inf where the source may not
      merge, or nothing may be joined.
  """

  split: Split
  destination: jax.Array
  similarity: jax.Array


def split_every(mask: jax.Array, every: int = 2) -> Split:
  """Returns the sets where one real token in `every` is a destination.

  With 2 sources and destinations alternate, as in ToMe. The last tokens, too
  few for a destination of their own, are sources.

  Args:
    mask: [B, N] bool.
    every: in [2, N].

  Raises:
    ValueError: `every` is out of range.
  """
  count = mask.shape[1]
  if not 2 <= every <= count:
    raise ValueError(f"every must be in [2, {count}], got {every}")
  real_first = jnp.argsort(~mask, axis=1, stable=True).astype(jnp.int32)
  joined = np.arange(count) % every == every - 1
  return Split(real_first[:, ~joined], real_first[:, joined])


def split_by_score(
  score: jax.Array,
  count: int,
  *,
  mask: jax.Array,
  protected: jax.Array | None = None,
) -> Split:
  """Returns the sets where the tokens of highest score are destinations.

  A random split has a random score.

  Args:
    score: [B, N] of any real dtype; among equals the lower slot is preferred.
    count: destinations, in [1, N - 1].
    mask: [B, N] bool; masked slots are destinations if nothing else is left.
    protected: [B, N] bool, or None; the same holds for them, as none joins
      them.

  Raises:
    ValueError: `count` is out of range.
  """
  slots = mask.shape[1]
  if not 1 <= count < slots:
    raise ValueError(f"count must be in [1, {slots - 1}], got {count}")
  destinations = highest(score, count, mask=_free(mask, protected))
  joined = (destinations[:, :, None] == jnp.arange(slots)).any(1)  # [B, N]
  sources = jnp.argsort(joined, axis=1, stable=True)[:, : slots - count]
  return Split(sources.astype(jnp.int32), destinations)


def match(
  metric: jax.Array,
  split: Split,
  *,
  mask: jax.Array,
  protected: jax.Array | None = None,
) -> Pairs:
  """Returns the most similar destination of every source.

  Args:
    metric: [B, N, d], compared by their cosine, such as keys averaged over
      heads (ToMe). What fills masked slots is not read; no gradient passes.
    split: the two sets.
    mask: [B, N] bool.
    protected: [B, N] bool, tokens that neither join nor are joined; or None.
  """
  metric = jax.lax.stop_gradient(jnp.where(mask[..., None], metric, 0))
  rows, columns = (
    jnp.take_along_axis(unit(metric), slots[..., None], axis=1)
    for slots in (split.sources, split.destinations)
  )
  cosine = jnp.einsum(
    "bsd,bcd->bsc", rows, columns, precision=jax.lax.Precision.HIGHEST
  )
  free = _free(mask, protected)
  may_join = take_slots(free, split.sources)[:, :, None]
  joinable = take_slots(free, split.destinations)[:, None]
  cosine = jnp.where(may_join & joinable, cosine, -jnp.inf)
  best = jnp.argmax(cosine, axis=-1)  # [B, S]
  return Pairs(split, take_slots(split.destinations, best), cosine.max(-1))


def plan_pairs(
  pairs: Pairs,
  r: int | jax.Array,
  *,
  mask: jax.Array,
  protected: jax.Array | None = None,
  slots: int | None = None,
  threshold: float | jax.Array | None = None,
  order: str = "slots",
) -> Merging:
  """Returns the plan by which the r most similar sources join.

  A clip that has fewer pairs merges them all, which the plan's `merged` tells.
  Tokens that are too many for the slots because of that are its `overflow`.

  Args:
    pairs: from `match`, with the same mask and protected tokens.
    r: pairs to merge in each clip, in [0, S]; or [B] int32, one for each, such
      as max(0, real tokens - K), which only merges what does not fit K slots.
    mask: [B, N] bool.
    protected: [B, N] bool, or None.
    slots: K, slots afterwards. None is N - r, which holds every clip that
      merges r pairs, or N with a threshold, which holds all.
    threshold: only pairs of a cosine above it, a finite number, merge (DyMU,
      arXiv:2504.17040).
    order: of the merged tokens, each of which is where its destination was:
      "slots" leaves them in the one they have; "sets" puts sources that did not
      join before destinations, ToMe's with a class token; "similarity" is the
      same with sources by falling similarity, ToMe's without. The order decides
      who meets whom if `split_every` is next. In the last two protected tokens
      are in front.

  Raises:
    ValueError: r, slots or order is not among those above; r is an array and
      neither slots nor a threshold are given.
  """
  sources, destinations = pairs.split.sources, pairs.split.destinations
  if order not in ORDERS:
    raise ValueError(f"order must be one of {ORDERS}, got {order!r}")
  count, most = mask.shape[1], sources.shape[1]
  static = isinstance(r, numbers.Integral)
  if static and not 0 <= r <= most:
    raise ValueError(f"r must be in [0, {most}], the sources, got {r}")
  if slots is None and threshold is not None:
    slots = count
  elif slots is None:
    if not static:
      raise ValueError("slots must be given where r is one for each clip")
    slots = count - r

  falling = jnp.argsort(-pairs.similarity, axis=1, stable=True)  # [B, S]
  rank = jnp.argsort(falling, axis=1)
  least = -jnp.inf if threshold is None else threshold
  joins = (rank < jnp.asarray(r)[..., None]) & (pairs.similarity > least)
  target = jnp.where(joins, pairs.destination, sources)

  def listing(first):
    return jnp.concatenate([first, destinations], axis=1)  # [B, N]

  by_slot = jnp.argsort(listing(sources), axis=1)
  in_order = None
  if order != "slots":
    first = sources if order == "sets" else take_slots(sources, falling)
    in_order = listing(first)
    if protected is not None:
      behind = ~take_slots(protected, in_order)
      in_order = take_slots(in_order, jnp.argsort(behind, axis=1, stable=True))
  return plan_merging(
    take_slots(listing(target), by_slot),
    mask,
    slots=slots,
    protected=protected,
    order=in_order,
  )


def _free(mask, protected):
  return mask if protected is None else mask & ~protected
