"""PARCEL: pooled anchors, and learned queries that read the rest."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.cross_attention import CrossAttention
from trajvit.ops.attention import AttentionMask
from trajvit.ops.grid_pool import halvings, largest_windows, pool_grid
from trajvit.ops.learned_tokens import unprotected
from trajvit.ops.tokens import zero_masked
from trajvit.reducers.elastic import Elastic, Plan
from trajvit.types import Tokens


class Parcel(Elastic):
  """Keeps the layout in pooled anchors, and detail in learned queries (PARCEL).

  A budget is split in two: patches pooled to a coarse grid, the anchors, and
  the first queries of one learned list, so that smaller budgets use a prefix.
  Anchors and queries meet in a block of self-attention, then the queries read
  all patches; both come out. Source: PARCEL, arXiv:2605.30126. Ours are the
  split, one set of queries for a clip instead of for an image, and the
  perceptron of the block.

  Args:
    k: slots of the largest budget that is run, with the protected ones.
    grid: (T, h, w) of the patches.
    budgets: slots, with the protected ones; None is k, k / 2 and k / 4. One
      that leaves no slot for a query beside an anchor is never run.
    budget: slots at inference; None is the largest.
    anchors: the share of a budget, in (0, 1), that anchors take at most; their
      grid is the largest of whole frames halved in rows and columns, then in
      frames, that is within it.
    width: D.
    num_heads: of both attentions.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    budgets: Sequence[int] | None = None,
    budget: int | None = None,
    anchors: float = 0.5,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if not 0 < anchors < 1:
      raise ValueError(f"anchors must be in (0, 1), got {anchors}")
    if budgets is None:
      budgets = [max(k // part, 1) for part in (1, 2, 4)]
    super().__init__(k=k, grid=grid, budgets=budgets, budget=budget)
    self.anchors = anchors
    options = dict(dtype=dtype, rngs=rngs)
    init = nnx.initializers.normal(0.02)
    self.queries = nnx.Param(init(rngs.params(), (k, width)))
    self.meet = Block(width, num_heads, 4 * width, **options)
    self.read = CrossAttention(width, num_heads, **options)

  def plan(self, budget: int, prefix: int) -> Plan | None:
    """See Elastic."""
    free = budget - prefix
    if budget > self.k or free < 2:
      return None
    most = max(int(free * self.anchors), 1)
    plan = Plan(largest_windows(self.grid, halvings(self.grid), most))
    return plan._replace(queries=free - plan.slots)

  def run(self, tokens: Tokens, plan: Plan) -> Tokens:
    """See Elastic.

    Patches are shared evenly between all that come out, so that sizes add up;
    a query is at the mean position of the patches.
    """
    anchors = pool_grid(tokens, self.grid, plan.windows)
    patches = unprotected(tokens)
    batch, count = anchors.mask.shape
    some = patches.mask.any(1, keepdims=True)  # [B, 1]
    shape = (batch, plan.queries)
    queries = self.queries[...][: plan.queries].astype(anchors.features.dtype)
    queries = jnp.broadcast_to(queries, (*shape, queries.shape[-1]))
    mask = jnp.concatenate(
      [anchors.mask, jnp.broadcast_to(some, shape)], axis=1
    )
    x = jnp.concatenate([anchors.features, queries], axis=1)
    x, _ = self.meet(x, Context(mask=AttentionMask(keys=mask)))
    queries = x[:, count:]
    queries += self.read(queries, patches.features, patches.mask)

    real = jnp.maximum(patches.mask.sum(1), 1)[:, None, None]
    middle = patches.positions.sum(1, keepdims=True) / real  # [B, 1, 3]
    middle = jnp.broadcast_to(middle, (*shape, 3))
    total = patches.size.sum(1, keepdims=True)
    size = jnp.broadcast_to(total / plan.slots, shape)
    return zero_masked(
      Tokens(
        features=jnp.concatenate([x[:, :count], queries], axis=1),
        mask=mask,
        positions=jnp.concatenate([anchors.positions, middle], axis=1),
        size=jnp.concatenate([anchors.size * count / plan.slots, size], axis=1),
      )
    )
