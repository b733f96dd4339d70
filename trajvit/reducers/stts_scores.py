"""A learned score a token, taught by change in time and by the task."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.layers.token_scorer import AttentionScorer
from trajvit.ops.change import feature_similarity
from trajvit.ops.selection import select
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class SttsScores(Reducer):
  """Keeps the k tokens that a small scorer prefers.

  The score s in (0, 1) is taught twice. What repeats the frame before is to
  score low: a loss pulls 1 - s towards (1 + cos) / 2, where cos compares a
  patch with the one before it in its place. And what helps the task is to score
  high: kept tokens are multiplied by s / stop_gradient(s), which is 1, so that
  the gradient of a token reaches its score.

  Source: unified spatio-temporal token scoring, which prunes in an early layer
  of the encoder, after the third; how its scores enter the forward pass is not
  known to us, nor is its scorer in detail.

  Args:
    k: tokens kept; protected ones are always among them.
    grid: (T, h, w).
    width: D.
    hidden: width of the scorer; None is D / 4.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    hidden: int | None = None,
    dtype=jnp.float32,
    rngs,
  ):
    self.k, self.grid = k, tuple(grid)
    hidden = width // 4 if hidden is None else hidden
    self.scorer = AttentionScorer(width, hidden, dtype=dtype, rngs=rngs)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in their old order.

    A clip with fewer than k real tokens keeps them all.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, nothing is drawn.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots kept; `score` [B, N]
      float32, 0 where masked; `losses["temporal"]`, the mean square of what
      1 - s misses over the patches that something came before, 0 if none has;
      `metrics["score"]`, the mean of all scores.

    Raises:
      ValueError: k is not in [1, N]; what `on_grid` raises.
    """
    del key
    found, tokens = on_grid(tokens, self.grid), zero_masked(tokens)
    logits = self.scorer(tokens.features, tokens.mask)
    score = jnp.where(tokens.mask, jax.nn.sigmoid(logits), 0)

    similarity = feature_similarity(found.features, found.mask)
    similarity = jax.lax.stop_gradient(similarity)
    similarity = off_grid(similarity, found.prefix, fill=-jnp.inf)
    follows = similarity > -jnp.inf
    target = jnp.where(follows, (1 + similarity) / 2, 0)
    missed = jnp.where(follows, 1 - score - target, 0)
    loss = jnp.square(missed).sum() / jnp.maximum(follows.sum(), 1)

    # s / stop_gradient(s), which as a quotient could be 0 / 0 or less than 1.
    log_score = jax.nn.log_sigmoid(logits)
    factor = jnp.exp(log_score - jax.lax.stop_gradient(log_score))
    if tokens.protected is not None:
      factor = jnp.where(tokens.protected, 1, factor)
    factor = jnp.where(tokens.mask, factor, 1)[..., None]
    scaled = tokens.features * factor.astype(tokens.features.dtype)
    tokens = dataclasses.replace(tokens, features=scaled)
    kept, indices = select(tokens, score, self.k)
    mean = score.sum() / jnp.maximum(tokens.mask.sum(), 1)
    return kept, {
      "indices": indices,
      "score": score,
      "losses": {"temporal": loss},
      "metrics": {"score": mean},
    }
