"""Attention among a few tokens, others in every head."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.layers.attention_methods.context import (
  dense_coordinates,
  refuse_packed,
)
from trajvit.ops.attention.dynamic.token_sparse import (
  importance,
  token_sparse_attention,
  top_tokens,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSparse:
  """Every head attends among the tokens that most queries attend to.

  Source: Token Sparse Attention, arXiv:2602.03216; `dynamic.token_sparse`
  says which reading of it. A token that a head leaves out gets 0 from it. Rows
  must be one clip each.

  Attributes:
    count: the most tokens of a head.
    coverage: share of the importance at which a head stops taking tokens.
    always: first tokens that every head takes: registers are there.
    block: queries that vote together.
  """

  count: int
  coverage: float = 1.0
  always: int = 1
  block: int = 128
  shared = False

  def __call__(self, query, key, value, context):
    """See the package; aux has `tokens` [], the mean share that heads keep."""
    refuse_packed(context, "token_sparse")
    coordinates = dense_coordinates(context, query.shape[1])
    scores = importance(
      *jax.lax.stop_gradient((query, key)), coordinates, self.block
    )
    chosen = top_tokens(
      scores,
      self.count,
      coordinates,
      coverage=self.coverage,
      always=self.always,
    )
    out = token_sparse_attention(query, key, value, *chosen, bias=context.bias)
    kept = chosen[1].sum(-1) / query.shape[1]  # [B, K]
    return out, {"tokens": kept.mean(dtype=jnp.float32)}
