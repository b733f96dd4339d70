"""Tokens that no pivot is a duplicate of."""

import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.distances import cosine_distances
from trajvit.ops.selection import highest, select
from trajvit.ops.tokens import zero_masked
from trajvit.reducers.todre import unprotected
from trajvit.types import Tokens


class DartDup(Reducer):
  """Keeps a few pivots, and the tokens least similar to any of them.

  What repeats a pivot adds nothing, however important it is; unlike greedy
  choices this needs no rounds. Pivots are the tokens of the largest norm.
  Source: DART, arXiv:2502.11494, behind the encoder and inside a language
  model, which keeps 11 % there and takes pivots from the text too. Here
  similarity with several pivots is the largest cosine.

  Args:
    k: tokens kept; protected ones are always among them.
    pivots: how many, in [1, k]. Those that find no slot beside the protected
      tokens still serve for comparison.

  Raises:
    ValueError: the number of pivots is out of range.
  """

  def __init__(self, *, k: int, pivots: int = 4):
    if not 1 <= pivots <= k:
      raise ValueError(f"pivots must be in [1, {k}], got {pivots}")
    self.k, self.pivots = k, pivots

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all. Aux: `indices`
    [B, k] int32, the slots kept; `pivots` [B, N] bool.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    free = unprotected(tokens)
    norm = jnp.linalg.norm(tokens.features.astype(jnp.float32), axis=-1)
    chosen = highest(norm, self.pivots, mask=free)  # [B, p]
    pivots = jnp.take_along_axis(tokens.features, chosen[..., None], axis=1)
    real = jnp.take_along_axis(free, chosen, axis=1)[..., None]
    distance = cosine_distances(pivots, tokens.features)  # [B, p, N]
    distance = jnp.where(real, distance, jnp.inf).min(1)
    slots = jnp.arange(tokens.mask.shape[1])
    is_pivot = free & (chosen[..., None] == slots).any(1)
    kept, indices = select(tokens, (is_pivot, distance), self.k)
    return kept, {"indices": indices, "pivots": is_pivot}
