"""LookupViT: most work on few tokens, which look things up in the others."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.encoders.reducing import (
  Reducers,
  checked,
  metrics,
  reduce,
  wants_block,
)
from trajvit.layers.lookup import LookupBlock
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.grid_pool import pool_by_position
from trajvit.ops.tokens import prepend, zero_masked
from trajvit.types import Layout, Tokens


class LookupViT(nnx.Module):
  """Transformer on a few tokens that look things up in all others (LookupViT).

  Source: arXiv:2407.12753. The compressed tokens start as means of the tokens
  in the cells of a coarse grid, by position: the bilinear shrinking of the
  paper, up to its weights, and it takes tokens of any kind, such as those of
  trajectories. One model serves several grids: each step of training draws one
  of `budgets`, and inference runs any of them.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron on compressed tokens.
    lookup_mlp_dim: that on all tokens; None is half the width, our choice.
    budgets: grids (t, y, x) of compressed tokens.
    budget: the one at inference; None is the largest.
    reducers: at most one in front, which thins the tokens that are looked up,
      and one for the compressed tokens that come out; neither may read a block.
    registers: learned tokens in front of the compressed ones, the first of
      which is the class token.
    final_norm: whether a layer norm ends the encoder.
    epsilon: of the layer norms.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    lookup_mlp_dim: int | None = None,
    budgets: Sequence[tuple[int, int, int]] = ((4, 5, 5),),
    budget: tuple[int, int, int] | None = None,
    reducers: Reducers = (),
    registers: int = 1,
    final_norm: bool = True,
    epsilon: float = 1e-6,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    distinct = {tuple(x) for x in budgets}
    self.budgets = tuple(sorted(distinct, key=math.prod, reverse=True))
    if not self.budgets or min(map(min, self.budgets)) < 1:
      raise ValueError(f"budgets must be grids (t, y, x), got {budgets}")
    self.budget = self.budgets[0] if budget is None else tuple(budget)
    if self.budget not in self.budgets:
      raise ValueError(f"budget must be one of {self.budgets}, got {budget}")
    reducers = checked(reducers, 1)
    if any(map(wants_block, reducers)):
      raise ValueError("lookup_vit has no block that a reducer could read")
    self.width, self.num_heads = size.width, size.num_heads
    lookup_mlp_dim = lookup_mlp_dim or size.width // 2

    def block(rngs):
      return LookupBlock(
        size.width,
        size.num_heads,
        size.mlp_dim,
        lookup_mlp_dim,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

    self.reducers = nnx.List(reducers)
    self.blocks = Stack(block, size.depth, remat=remat, rngs=rngs)
    init = nnx.initializers.normal(0.02)
    self.registers = nnx.Param(init(rngs.params(), (registers, size.width)))
    self.norm = (
      LayerNorm(size.width, epsilon=epsilon, dtype=dtype)
      if final_norm
      else None
    )

  def __call__(
    self, tokens: Tokens, *, layout: Layout | None = None, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the registers, then the compressed tokens.

    Args:
      tokens: [B, N, D].
      layout: must be None: clips do not share rows here.
      key: draws the budget, one for the batch, and goes to the reducers; None
        at inference.

    Returns:
      registers + M tokens, M = t y x of the budget, in training of the largest;
      a cell without a token is masked, and so is what a smaller budget leaves.
      Aux: `tokens`, those that are looked up; `lookup`, the same after all
      blocks; `reducers`, the aux of both; and `metrics` of reducers, if any.

    Raises:
      ValueError: tokens are not of this width, or a layout is given.
    """
    if tokens.features.shape[-1] != self.width:
      raise ValueError(
        f"tokens must be {self.width} wide, got {tokens.features.shape[-1]}"
      )
    if layout is not None:
      raise ValueError("lookup_vit packs no clips into rows, got a layout")
    tokens, first = self._reduce(0, zero_masked(tokens), key)
    compressed = self._compress(tokens, key)
    if self.registers.shape[0]:
      compressed = prepend(self.registers[...], compressed)
    x = compressed.features, tokens.features
    (x, looked_up), _ = self.blocks(x, compressed.mask, tokens.mask)
    if self.norm is not None:
      x = self.norm(x)
    compressed = zero_masked(dataclasses.replace(compressed, features=x))
    compressed, last = self._reduce(1, compressed, key)
    lookup = zero_masked(dataclasses.replace(tokens, features=looked_up))
    aux = {"tokens": tokens, "lookup": lookup, "reducers": [first, last]}
    seen = metrics(aux["reducers"])
    return compressed, aux | ({"metrics": seen} if seen else {})

  def _reduce(self, number, tokens, key):
    key = None if key is None else jax.random.fold_in(key, number)
    return reduce(self.reducers[number], tokens, None, key)

  def _compress(self, tokens, key):
    """The tokens of a grid; in training a drawn one, with as many slots."""
    if key is None:
      return pool_by_position(tokens, self.budget)
    slots = math.prod(self.budgets[0])

    def pool(budget):
      spare = slots - math.prod(budget)

      def fill(x):
        return jnp.pad(x, [(0, 0), (0, spare)] + [(0, 0)] * (x.ndim - 2))

      return lambda tokens: jax.tree.map(fill, pool_by_position(tokens, budget))

    key = jax.random.fold_in(key, len(self.reducers))
    drawn = jax.random.randint(key, (), 0, len(self.budgets))
    return jax.lax.switch(drawn, [pool(x) for x in self.budgets], tokens)
