"""TokenFLEX: the grid pooled to a random size, then a gated projector."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from trajvit.layers.gated_mlp import GatedMlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.tokens import zero_masked
from trajvit.reducers.elastic import Plan
from trajvit.reducers.matryoshka import Matryoshka
from trajvit.types import Tokens


class TokenFlex(Matryoshka):
  """Pools every frame to a square, then projects it through SwiGLU (TokenFLEX).

  A step of training draws the side. The gated projector is one for all sides
  and, as in the paper, has no residual: what comes out is in a space of its
  own. Source: TokenFLEX, arXiv:2504.03154. The norm in front of the projector
  is ours.

  Args:
    k: slots at most, with the protected ones. If not even the smallest side
      fits, frames are averaged too, by the smallest factor that does.
    grid: (T, h, w) of the patches.
    budgets: sides; None is all, three quarters and half of the grid's, which
      are the paper's 256, 144 and 64 tokens of 16 x 16 patches.
    budget: the side at inference; None is the largest that fits.
    mlp_ratio: hidden width of the projector, in widths.
    width: D.
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
    mlp_ratio: int = 4,
    width: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    side = max(grid[1:])
    if budgets is None:
      budgets = [max(side * part // 4, 1) for part in (4, 3, 2)]
    super().__init__(k=k, grid=grid, budgets=budgets, budget=budget)
    self.norm = LayerNorm(width, dtype=dtype)
    self.project = GatedMlp(
      width, mlp_ratio * width, width, dtype=dtype, rngs=rngs
    )

  def run(self, tokens: Tokens, plan: Plan) -> Tokens:
    """See Elastic."""
    pooled = super().run(tokens, plan)
    features = self.project(self.norm(pooled.features))
    return zero_masked(dataclasses.replace(pooled, features=features))
