"""DToMe: as many tokens merge as are alike, by a calibrated threshold."""

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.bipartite import plan_pairs
from trajvit.ops.matching_rounds import (
  alternating_pairs,
  excess,
  merge_along,
  merge_to_fit,
  slots_of_rounds,
)
from trajvit.ops.merging import merge
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class DToMe(Reducer):
  """Merges the pairs of ToMe that are more alike than a threshold.

  A plain clip is left with few tokens, a busy one with many. What is still too
  much for k slots merges too, from the most similar pair on.

  Source: dynamic token merging of DyMU, arXiv:2504.17040, where the thresholds
  are found on many clips (`calibrated_threshold`). There batches grow to their
  longest clip; here there are k slots: the calibrated mean, and a margin.

  Args:
    k: slots afterwards, protected tokens among them.
    threshold: cosine of keys above which a pair merges; None, which is the
      default, merges what does not fit k and no more, and so is ToMe.
    protected: class and register tokens of a clip, at the most; matters only
      for the number of rounds.
  """

  needs_block = True

  def __init__(
    self, *, k: int, threshold: float | None = None, protected: int = 1
  ):
    self.k, self.threshold, self.protected = k, threshold, protected

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns at most k tokens a clip, in k slots, in their old order.

    Aux: `edges` [B, S] float32, the cosine of every token that may join another
    with its best one, -inf where there is none, what `calibrated_threshold`
    reads; `overflow` [B] int32, tokens that were to stay, for being below the
    threshold, and had to join another for lack of slots. It is absent without
    a threshold.

    Raises:
      ValueError: k is not in [protected + 1, N].
    """
    del key
    tokens, metric = zero_masked(tokens), block.keys()
    metric = jax.lax.stop_gradient(metric)
    before = tokens.mask.sum(1, dtype=jnp.int32)
    protected = 0 if tokens.protected is None else self.protected
    rounds = slots_of_rounds(tokens.mask.shape[1], self.k, protected=protected)
    first = (*rounds, self.k)[0]
    pairs = alternating_pairs(tokens, metric)
    wanted = jnp.zeros_like(before)
    if self.threshold is not None:
      above = pairs.similarity > self.threshold
      wanted = above.sum(1, dtype=jnp.int32)
    merging = plan_pairs(
      pairs,
      jnp.maximum(wanted, excess(tokens.mask, self.k)),
      mask=tokens.mask,
      protected=tokens.protected,
      slots=first,
    )
    metric = merge_along(metric, tokens, merging)
    merged, _ = merge_to_fit(
      merge(tokens, merging), metric, self.k, protected=self.protected
    )
    aux = {"edges": pairs.similarity}
    if self.threshold is not None:
      left = before - merged.mask.sum(1, dtype=jnp.int32)
      aux["overflow"] = left - wanted
    return merged, aux


def calibrated_threshold(edges: jax.Array, r: int) -> jax.Array:
  """Returns the threshold at which r tokens a clip merge in the mean.

  That of a batch; DyMU takes the mean over batches.

  Args:
    edges: [B, S] float32, of `DToMe`, -inf where there is none. Clips without
      any do not count.
    r: tokens to merge a clip, at least 0.

  Returns:
    [] float32, at least 0: the edge that follows the r * B highest, 0 if there
    are not as many.

  Raises:
    ValueError: r is negative.
  """
  if r < 0:
    raise ValueError(f"r must be at least 0, got {r}")
  clips = (edges > -jnp.inf).any(1).sum()
  falling = -jnp.sort(-edges.reshape(-1))
  at = r * clips
  last = falling.shape[0] - 1
  edge = jnp.where(at <= last, falling[jnp.minimum(at, last)], 0)
  return jnp.maximum(edge, 0)
