"""Runs of patches that stand still, each merged into its first."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.change import feature_similarity
from trajvit.ops.merge_budget import most_similar, plan_best
from trajvit.ops.merged_positions import head_positions
from trajvit.ops.merging import merge
from trajvit.ops.runs import runs
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.types import Tokens


class FrameFusion(Reducer):
  """Merges each patch into the one before it in time, the most similar first.

  What joins its predecessor and is joined in turn forms a run, which becomes
  one token: the mean of its members, where the first one was. Source: the first
  half of FrameFusion, arXiv:2501.01986, in the first layers of a language
  model; what is left is pruned by attention in the second half, for which any
  reducer that selects can follow. Repeated merging forgets sizes there, here
  means go by size.

  Args:
    k: slots afterwards, protected tokens among them.
    grid: (T, h, w).
    threshold: None merges just as many as it takes to fit k slots. With a
      number, 0.6 in the paper, only pairs of at least this cosine merge; if
      that leaves too many, those most like their predecessor are dropped.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    threshold: float | None = None,
  ):
    self.k, self.grid, self.threshold = k, tuple(grid), threshold

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns one token a run, in raster order of their first patches.

    A clip with fewer than k real tokens keeps them all.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the choice is fixed.

    Returns:
      k tokens. Aux: `owner` [B, N] int32, the slot each token is in now, -1 for
      none; `overflow` [B] int32, tokens that found no slot: also without a
      threshold where k is less than the P others and the patches of a frame.

    Raises:
      ValueError: k is not in [1, N]; what `on_grid` raises.
    """
    del key
    found = on_grid(tokens, self.grid)
    similarity = feature_similarity(found.features, found.mask)
    similarity = off_grid(similarity, found.prefix, fill=-jnp.inf)
    surplus = tokens.mask.sum(1) - self.k
    joins = most_similar(similarity, surplus, self.threshold)
    joins = joins[:, found.prefix :].reshape(found.mask.shape)

    slots = jnp.arange(tokens.mask.shape[1])
    first = found.prefix + run_heads(joins, found.mask)
    target = jnp.where(
      tokens.mask & (slots >= found.prefix),
      off_grid(first, found.prefix),
      slots,
    )
    plan = plan_best(
      target,
      tokens.mask,
      -similarity,
      slots=self.k,
      protected=tokens.protected,
    )
    merged = dataclasses.replace(
      merge(tokens, plan), positions=head_positions(tokens.positions, plan)
    )
    return merged, {"owner": plan.owner, "overflow": plan.overflow}


def run_heads(joins: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the raster index of the first patch of each one's run.

  Args:
    joins: [B, T, n] bool, those that join the last real one at their place; the
      first real one joins nothing.
    mask: [B, T, n] bool, True = real.

  Returns:
    [B, T, n] int32 in [0, T n); negative where masked.
  """
  patches = mask.shape[-1]
  return runs(~joins, mask).head * patches + jnp.arange(patches)


def sparsity_bound(
  cost: float, layers: int, sparsities: Sequence[float]
) -> float:
  """Returns the share of tokens to remove next for all layers to cost so much.

  A layer costs as many tokens as it has, of which each removal leaves a share.
  If the layers behind the next removal keep what that leaves, the mean cost
  over all layers is the one that is wanted. Source: FrameFusion.

  Args:
    cost: in [0, 1], the mean over the layers, of that without any removal.
    layers: L, of the model.
    sparsities: shares removed so far, before each of the first layers, fewer
      than L; all below 1.

  Raises:
    ValueError: the first layers alone cost more, or there is none left.
  """
  if len(sparsities) >= layers:
    raise ValueError(
      f"there must be fewer removals than the {layers} layers, got "
      f"{len(sparsities)}"
    )
  left = [1 - share for share in sparsities]
  spent = sum(math.prod(left[: i + 1]) for i in range(len(left)))
  rest = layers * cost - spent
  if rest < 0:
    raise ValueError(
      f"cost must be at least {spent / layers}, what the first "
      f"{len(left)} of {layers} layers take, got {cost}"
    )
  return max(0.0, 1 - rest / ((layers - len(left)) * math.prod(left)))
