"""A learned gate that predicts which tiles attention will need."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import base_mask
from trajvit.layers.attention_methods.selection import around, describe
from trajvit.ops.attention import attend, attention
from trajvit.ops.attention.dynamic.select import (
  mixed_tiles,
  per_head,
  pooled,
  top_blocks,
)
from trajvit.ops.attention.pattern import EMPTY
from trajvit.ops.position import rotary

# The largest, smallest and mean key of a block say more than one of them.
POOLS = ("max", "min", "mean")


class SeerGate(nnx.Module):
  """Attends to the k key blocks that a learned gate scores highest.

  Source: SeerAttention, arXiv:2410.13276: pooled queries and keys, a linear map
  of each, rotary phases of the block's number, and a product. The gate learns
  from the attention itself, by the objective `gate_distillation`, and gives it
  no gradient. Queries are pooled as keys are, and the phase of a block is its
  number, not the place of its first token.

  Args:
    num_heads: K.
    head_dim: d.
    k: key blocks of a query block, besides those that are always in.
    distill: attend to everything and return what the gate should have said;
      without it, attend to what the gate says.
    gate_dim: width of the gate's queries and keys, even; None is d.
    block: as in `selection.Selection`.
    sinks: likewise.
    diagonal: likewise.
    shared: likewise; the gate of the first layer then serves its stage. It has
      no meaning with `distill`, in which every gate learns.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    num_heads: int,
    head_dim: int,
    k: int,
    distill: bool = False,
    gate_dim: int | None = None,
    block: int = 128,
    sinks: int = 1,
    diagonal: bool = True,
    shared: bool = False,
    rngs: nnx.Rngs,
  ):
    gate_dim = head_dim if gate_dim is None else gate_dim
    if gate_dim % 2:
      raise ValueError(f"gate_dim must be even, got {gate_dim}")
    if shared and distill:
      raise ValueError("a gate cannot be shared while all are distilled")
    self.distill, self.shared = distill, shared
    self.k, self.block = k, block
    self.sinks, self.diagonal = sinks, diagonal
    init = nnx.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
    shape = num_heads, len(POOLS) * head_dim, gate_dim
    self.query = nnx.Param(init(rngs.params(), shape))
    self.key = nnx.Param(init(rngs.params(), shape))

  def scores(self, query, key, base) -> jax.Array:
    """Returns [B, K, nq, nk] float32, the gate's logits of all tiles."""

    def gate(x, coordinates, block, kernel):
      x = pooled(jax.lax.stop_gradient(x), coordinates, block, POOLS)
      x = jnp.einsum("bhnc,hcg->bnhg", x, kernel[...])
      return rotary(x, jnp.arange(x.shape[1]), x.shape[-1])

    rows = gate(query, base.query, base.block_query, self.query)
    columns = gate(key, base.key, base.block_key, self.key)
    scale = rows.shape[-1] ** -0.5
    return scale * jnp.einsum("bqhg,bkhg->bhqk", rows, columns)

  def select(self, query, key, context):
    """Returns the tiles that the gate chooses; see the package."""
    base = base_mask(context, query.shape[1], self.block)
    return self._choose(self.scores(query, key, base), context, base)

  def __call__(self, query, key, value, context):
    """See the package.

    Returns:
      The result; and aux, `density` [] and `dropped` [] of the choice, and with
      `distill` also `mass_recall` [], the share of the attention that the
      chosen tiles hold, `gate_scores` and `gate_target` [B, K, nq, nk] float32,
      the gate's logits and the largest weight in each tile. Tiles that are
      empty or that the gate does not decide about have the target 0 and
      the lowest float as score.
    """
    if not self.distill:
      chosen = context.selected
      if chosen is None:
        chosen = self.select(query, key, context)
      out = attention(query, key, value, mask=chosen, bias=context.bias)
      return out, describe(chosen)
    base = base_mask(context, query.shape[1], self.block)
    bias = context.bias
    full = attend(query, key, value, mask=base, bias=bias, tile_max=True)
    scores = self.scores(query, key, base)
    chosen = self._choose(scores, context, base)
    still = jax.lax.stop_gradient((query, key, value, bias))
    found = attend(*still[:3], mask=chosen, bias=still[3])
    decides = (per_head(base, query.shape[2]) != EMPTY) & ~mixed_tiles(base)
    return full.out, describe(chosen) | {
      "mass_recall": mass_recall(found.logsumexp, full.logsumexp),
      "gate_scores": jnp.where(decides, scores, jnp.finfo(jnp.float32).min),
      "gate_target": jnp.where(
        decides, jax.lax.stop_gradient(full.tile_max), 0
      ),
    }

  def _choose(self, scores, context, base):
    options = dict(diagonal=self.diagonal, sinks=self.sinks)
    forced, capacity = around(self.k, context, base, **options)
    return top_blocks(scores, self.k, base, forced=forced, capacity=capacity)


def mass_recall(part: jax.Array, full: jax.Array) -> jax.Array:
  """Returns [] float32, the mean share of the attention that a part holds.

  Args:
    part: [B, N, K] float32, the logsumexp over some of the keys.
    full: likewise over all; -inf for padding, which does not count.
  """
  part, full = jax.lax.stop_gradient((part, full))
  seen = jnp.isfinite(full)
  share = jnp.where(seen, jnp.exp(part - jnp.where(seen, full, 0)), 0)
  return share.sum() / jnp.maximum(seen.sum(), 1)
