"""Tokens that matter and are not like one another."""

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.distances import cosine_distances
from trajvit.ops.farthest import farthest_points
from trajvit.ops.tokens import zero_masked
from trajvit.reducers.todre import keep_picked, unprotected
from trajvit.types import Tokens

IMPORTANCES = ("norm", "attention")


class IdPruner(Reducer):
  """Keeps k tokens by maximal marginal relevance.

  The first pick is the most important token; each further one is the argmax of
  balance * importance - (1 - balance) * its largest cosine with those picked.
  Importance runs from 0 to 1 over the tokens of a clip, and is 0 where all are
  alike. Source: IDPruner, arXiv:2602.13315, behind the encoder. There a scorer
  is trained for the importance; here it is the norm of a token, or the
  attention that unprotected tokens pay to it in the block before.

  Args:
    k: tokens kept; protected ones are always among them.
    balance: in [0, 1]; 1 is importance alone.
    importance: "norm" or "attention".

  Raises:
    ValueError: the balance is out of range, or the importance is unknown.
  """

  def __init__(self, *, k: int, balance: float = 0.5, importance: str = "norm"):
    if not 0 <= balance <= 1:
      raise ValueError(f"balance must be in [0, 1], got {balance}")
    if importance not in IMPORTANCES:
      raise ValueError(
        f"importance must be one of {IMPORTANCES}, got {importance!r}"
      )
    self.k, self.balance = k, balance
    self.needs_block = importance == "attention"

  def __call__(
    self, tokens: Tokens, *, block: LastBlock | None = None, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all.

    Args:
      tokens: N tokens a clip.
      block: the block that put them out, for importance by attention.
      key: unused, the choice is fixed.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots kept.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    free = unprotected(tokens)
    if self.needs_block:
      importance = block.received(free)
    else:
      features = tokens.features.astype(jnp.float32)
      importance = jnp.linalg.norm(features, axis=-1)
    cosine = 1 - cosine_distances(tokens.features)
    picks = relevant(importance, cosine, free, self.k, balance=self.balance)
    return keep_picked(tokens, picks)


def relevant(
  importance: jax.Array,
  cosine: jax.Array,
  mask: jax.Array,
  count: int,
  *,
  balance: float,
) -> jax.Array:
  """Returns the tokens of maximal marginal relevance, the best first.

  Source: Carbonell and Goldstein, 1998.

  Args:
    importance: [B, N] float, on any scale.
    cosine: [B, N, N] float.
    mask: [B, N] bool, True = may be picked.
    count: K, in [1, N].
    balance: in [0, 1], of importance against likeness.

  Returns:
    [B, K] int32, all different; masked ones once no other is left.
  """
  low, high = (
    reduce(jnp.where(mask, importance, fill), axis=1, keepdims=True)
    for reduce, fill in ((jnp.min, jnp.inf), (jnp.max, -jnp.inf))
  )
  spread = jnp.where(high > low, high - low, 1)
  score = jnp.where(mask & (high > low), (importance - low) / spread, 0)
  return farthest_points(
    (balance - 1) * cosine,
    mask,
    count,
    jnp.argmax(jnp.where(mask, score, -1), axis=1),
    score=balance * score,
  )[0]
