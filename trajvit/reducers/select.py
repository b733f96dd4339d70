"""Baselines that keep k tokens without looking at them."""

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import select
from trajvit.types import Tokens


class RandomK(Reducer):
  """Keeps k tokens drawn at random.

  In training every clip draws anew; at inference (`key=None`) the draw is fixed
  by `seed`, so that an evaluation can be repeated. The mandatory baseline of
  token reduction: what a method adds is what it gains over this.

  Args:
    k: tokens kept; protected ones are always among them.
    seed: of the draw at inference.
  """

  def __init__(self, *, k: int, seed: int = 0):
    self.k, self.seed = k, seed

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all. Aux: `indices`
    [B, k] int32, the slots kept.

    Raises:
      ValueError: k is not in [1, N].
    """
    key = jax.random.key(self.seed) if key is None else key
    score = jax.random.uniform(key, tokens.mask.shape)
    return keep_highest(tokens, score, self.k)


class UniformK(Reducer):
  """Keeps k tokens spread evenly over their order.

  Args:
    k: tokens kept; protected ones are always among them.
  """

  def __init__(self, *, k: int):
    self.k = k

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the first token of each of k equal steps, in their old order.

    A clip with fewer than k real tokens keeps them all. Aux: `indices`
    [B, k] int32, the slots kept.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    free, steps = tokens.mask, self.k
    if tokens.protected is not None:
      free = free & ~tokens.protected
      steps -= (tokens.mask & tokens.protected).sum(1, keepdims=True)
    rank = jnp.cumsum(free, axis=1) - 1  # among the free ones
    count = jnp.maximum(free.sum(1, keepdims=True), 1)
    opens = rank * steps // count != (rank - 1) * steps // count
    return keep_highest(tokens, opens.astype(jnp.float32), self.k)


class FirstK(Reducer):
  """Keeps the first k tokens: what is left is the beginning of the clip.

  The weakest baseline, below which a method has lost more than it chose.

  Args:
    k: tokens kept; protected ones are always among them.
  """

  def __init__(self, *, k: int):
    self.k = k

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the first k real tokens, in their old order.

    Aux: `indices` [B, k] int32, the slots kept.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    return keep_highest(tokens, jnp.zeros(tokens.mask.shape), self.k)


def keep_highest(
  tokens: Tokens, score: jax.Array, k: int
) -> tuple[Tokens, dict]:
  """Keeps the k tokens of highest score, protected ones before all.

  Args:
    tokens: N tokens a clip.
    score: [B, N] float; among equals the lower slot is kept.
    k: how many stay.

  Returns:
    The tokens in their old order, and {"indices": [B, k] int32}.

  Raises:
    ValueError: k is not in [1, N].
  """
  kept, indices = select(tokens, score, k)
  return kept, {"indices": indices}
