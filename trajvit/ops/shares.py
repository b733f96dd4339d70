"""A budget of tokens in whole shares, and who is among the best of a share."""

import jax
import jax.numpy as jnp


def even_shares(total: int, parts: int) -> tuple[int, ...]:
  """Returns `parts` counts that sum to `total` and differ by at most 1.

  Args:
    total: not negative.
    parts: at least 1.
  """
  ends = [total * part // parts for part in range(parts + 1)]
  return tuple(
    end - start for start, end in zip(ends[:-1], ends[1:], strict=True)
  )


def shares_by_count(counts: jax.Array, total: jax.Array) -> jax.Array:
  """Returns shares of a total in proportion to the counts of groups.

  Every group that has a token gets one before any gets two, the larger groups
  first. The others go by the counts, less these; what rounding down leaves goes
  to those that it took most from (Hamilton's method). So nothing is left, and
  no share is larger than its count. Of equals the first gets more.

  Args:
    counts: [..., G] int32, not negative, tokens of every group.
    total: [...] int32, not negative, at most 2^31 divided by any count; all
      tokens are shared out where it is larger than their number.

  Returns:
    [..., G] int32, with the sum min(total, counts.sum()).
  """
  total = jnp.asarray(total)[..., None]
  one = (counts > 0) & (falling_rank(counts, counts > 0) < total)
  counts = counts - one
  every = counts.sum(-1, keepdims=True)
  total = jnp.clip(total - one.sum(-1, keepdims=True), 0, every)
  share, lost = jnp.divmod(counts * total, jnp.maximum(every, 1))
  left = total - share.sum(-1, keepdims=True)
  more = falling_rank(lost, counts > 0) < left
  return (one + share + more).astype(jnp.int32)


def falling_rank(score: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns how many real places have a higher score, or as much and are first.

  Args:
    score: [..., N] of any real dtype; no gradient passes.
    mask: [..., N] bool, True = real.

  Returns:
    [..., N] int32, 0 for the highest; masked places come after all others.
  """
  score = -jax.lax.stop_gradient(score)
  least = jnp.where(mask, score, jnp.zeros_like(score))
  order = jnp.lexsort((least, ~mask), axis=-1)
  return jnp.argsort(order, axis=-1).astype(jnp.int32)
