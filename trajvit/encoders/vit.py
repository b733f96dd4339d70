"""The Vision Transformer over any tokens, in stages with reducers between."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.tokens import prepend, zero_masked
from trajvit.types import Tokens


class ViT(nnx.Module):
  """Pre-norm Transformer (ViT), whose tokens a reducer may thin between stages.

  Source: arXiv:2010.11929. Tokens bring their own position embedding. Blocks of
  a stage run as one scan; the number of tokens changes only between stages,
  where a reducer sits. The first reducer runs before the class token is added.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    stages: blocks of each stage, summing to `depth`; empty means one stage.
    reducers: a reducer, or None, in front of each stage; empty means none.
    registers: learned tokens in front, the first of which is the class token.
    final_norm: whether a layer norm ends the encoder (TrajViT has none).
    passes: how often the whole encoder is applied, with the same weights. The
      released TrajViT code does it twice, for imported weights; 1 is meant.
    epsilon: of the layer norms.
    remat: recompute a block in the backward pass, see `layers.stack`.
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
    stages: Sequence[int] = (),
    reducers: Sequence[Callable | None] = (),
    registers: int = 1,
    final_norm: bool = True,
    passes: int = 1,
    epsilon: float = 1e-6,
    remat: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    stages = tuple(stages) or (size.depth,)
    if sum(stages) != size.depth or min(stages) < 1:
      raise ValueError(
        f"stages must be positive and sum to depth {size.depth}, got {stages}"
      )
    if len(reducers) not in (0, len(stages)):
      raise ValueError(
        f"reducers needs one entry (or None) for each of the {len(stages)} "
        f"stages, got {len(reducers)}"
      )
    if passes > 1 and any(r is not None for r in reducers[1:]):
      raise ValueError("a reducer between stages cannot run in two passes")
    self.width, self.num_heads, self.passes = size.width, size.num_heads, passes

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

    self.reducers = nnx.List(reducers or [None] * len(stages))
    self.stages = nnx.List(
      [Stack(block, depth, remat=remat, rngs=rngs) for depth in stages]
    )
    init = nnx.initializers.normal(0.02)
    self.registers = nnx.Param(init(rngs.params(), (registers, size.width)))
    self.norm = (
      LayerNorm(size.width, epsilon=epsilon, dtype=dtype)
      if final_norm
      else None
    )

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the encoded tokens, registers first.

    Args:
      tokens: [B, N, D].
      key: for the reducers that draw; None at inference.

    Returns:
      registers + N tokens (fewer after reducers), masked slots zeros. Aux:
      `tokens`, those that enter the first stage, without the registers, and
      `reducers`, a list of the reducers' aux.

    Raises:
      ValueError: tokens are not of this width.
    """
    if tokens.features.shape[-1] != self.width:
      raise ValueError(
        f"tokens must be {self.width} wide, got {tokens.features.shape[-1]}"
      )
    tokens = zero_masked(tokens)
    tokens, first = self._reduce(0, tokens, key)
    aux = {"tokens": tokens, "reducers": [first]}
    if self.registers.shape[0]:
      tokens = prepend(self.registers[...], tokens)
    for _ in range(self.passes):
      tokens = self._run(0, tokens)
      for i in range(1, len(self.stages)):
        tokens, reduced = self._reduce(i, tokens, key)
        aux["reducers"].append(reduced)
        tokens = self._run(i, tokens)
    if self.norm is not None:
      tokens = dataclasses.replace(tokens, features=self.norm(tokens.features))
    return zero_masked(tokens), aux

  def _reduce(self, stage, tokens, key):
    reducer = self.reducers[stage]
    if reducer is None:
      return tokens, {}
    key = None if key is None else jax.random.fold_in(key, stage)
    return reducer(tokens, key=key)

  def _run(self, stage, tokens):
    mask = AttentionMask(tokens.mask, tokens.segments, tokens.segments)
    features = self.stages[stage](tokens.features, mask)
    return dataclasses.replace(tokens, features=features)
