"""vid-TLDR: background vanishes in the tokens that it is merged into."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.matching_rounds import merge_to_fit
from trajvit.types import Tokens


class VidTLDR(Reducer):
  """Merges N - k tokens, those of the background without weight.

  A token that attends sharply in the block before is salient. Pairs are those
  of ToMe, between the features themselves, but a token that joins another
  counts by its saliency: one of the background leaves no trace. Meant to be
  early, in an encoder with `proportional` attention, and needs no training.

  Source: vid-TLDR, arXiv:2403.13347. There it is inside the first blocks, here
  behind one; a k below half of the tokens takes several matchings, in which
  saliency is merged along. Clips whose tokens all attend alike, for which the
  released code divides by zero, merge as in ToMe.

  Args:
    k: slots afterwards, protected tokens among them.
    protected: class and register tokens of a clip, at the most; matters only
      for the number of rounds.
  """

  needs_block = True

  def __init__(self, *, k: int, protected: int = 1):
    self.k, self.protected = k, protected

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns min(k, real) tokens a clip, in k slots, in their old order.

    Sizes add up to less than before: they are the weight that is left.

    Aux: `saliency` [B, N] float32 in [0, 1]; `overflow` [B] int32, tokens lost
    as nothing was left to join.

    Raises:
      ValueError: k is not in [protected + 1, N].
    """
    del key
    free = tokens.mask
    if tokens.protected is not None:
      free = free & ~tokens.protected
    saliency = sharpness(block.attention(), free)
    merged, overflow = merge_to_fit(
      tokens,
      tokens.features,
      self.k,
      protected=self.protected,
      saliency=saliency,
    )
    return merged, {"saliency": saliency, "overflow": overflow}


def sharpness(attention: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns [B, N] float32 in [0, 1], how salient each token of a clip is.

  The negative entropy of what a query attends to, scaled to [0, 1] and then so
  that the mean of a clip is 0: what lies below it is background and has 0.
  Where all are alike every token has 1. No gradient passes.

  Args:
    attention: [B, N, N], rows are queries and sum to 1.
    mask: [B, N] bool, the tokens that are compared; others have 0.
  """
  attention = jax.lax.stop_gradient(attention.astype(jnp.float32))
  score = xlogy(attention, attention).sum(-1)  # [B, N], at most 0
  low = jnp.where(mask, score, jnp.inf).min(1, keepdims=True)
  score = jnp.where(mask, score - low, 0)
  score = _scaled(score)
  count = jnp.maximum(mask.sum(1, keepdims=True), 1)
  above = _scaled(jnp.maximum(score - score.sum(1, keepdims=True) / count, 0))
  alike = score.max(1, keepdims=True) == 0
  return jnp.where(mask, jnp.where(alike, 1, above), 0)


def _scaled(x):
  """Not negative x [B, N] so that the largest of a row is 1, or all are 0."""
  most = x.max(1, keepdims=True)
  return x / jnp.where(most > 0, most, 1)
