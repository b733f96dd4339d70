"""Tokens that are as far from each other as can be."""

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.distances import cosine_distances
from trajvit.ops.farthest import farthest_points
from trajvit.ops.selection import select
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class ToDre(Reducer):
  """Keeps k tokens by greedy k-center: each pick is the farthest one left.

  What is kept covers what there is, however often it occurs. The first pick is
  the token of the largest norm, the distance is 1 - cosine. Source: the stage
  behind the encoder of ToDRE, arXiv:2505.18757v1, which keeps 10 %; v2 takes
  the largest sum of distances instead. The abstract leaves start and distance
  open.

  Args:
    k: tokens kept; protected ones are always among them.
  """

  def __init__(self, *, k: int):
    self.k = k

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all. Aux: `indices`
    [B, k] int32, the slots kept.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    free = unprotected(tokens)
    norm = jnp.linalg.norm(tokens.features.astype(jnp.float32), axis=-1)
    first = jnp.argmax(jnp.where(free, norm, -1), axis=1)
    distances = cosine_distances(tokens.features)
    picks, _ = farthest_points(distances, free, self.k, first)
    return keep_picked(tokens, picks)


def unprotected(tokens: Tokens) -> jax.Array:
  """Returns [B, N] bool, the real tokens that may be dropped."""
  if tokens.protected is None:
    return tokens.mask
  return tokens.mask & ~tokens.protected


def keep_picked(tokens: Tokens, picks: jax.Array) -> tuple[Tokens, dict]:
  """Returns the protected tokens and, as far as there is room, those picked.

  Args:
    tokens: N tokens a clip.
    picks: [B, k] int32 in [0, N), all different, the best first.

  Returns:
    k tokens in their old order, and {"indices": [B, k] int32}.
  """
  k = picks.shape[1]
  worth = jnp.broadcast_to(jnp.arange(k, 0, -1), picks.shape)
  score = jnp.zeros(tokens.mask.shape, worth.dtype)
  score = jax.vmap(lambda row, at, x: row.at[at].set(x))(score, picks, worth)
  kept, indices = select(tokens, score, k)
  return kept, {"indices": indices}
