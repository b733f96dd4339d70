"""A ViT whose later blocks run on a few learned tokens a frame."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.layers.token_fuser import TokenFuser
from trajvit.layers.token_learner import TokenMaps
from trajvit.ops.attention import AttentionMask
from trajvit.ops.learned_tokens import average
from trajvit.ops.tokens import prepend, zero_masked
from trajvit.types import Layout, Tokens


class TokenLearnerViT(nnx.Module):
  """ViT with TokenLearner and TokenFuser around each of its later blocks.

  Source: TokenLearner, arXiv:2106.11297. From block `loc` on, every frame is
  mixed to m tokens (version 1.1), the block runs on these, and what comes out
  is added to the patches by a fuser: all patches are there in the end. Without
  the fuser the method is the reducer `token_learner` of the encoder `vit`.
  Registers take part in all blocks and are neither mixed nor fused.

  Args:
    grid: (T, h, w) of the patches.
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    loc: blocks that see all patches, in [1, depth); None is half of them.
    frame_tokens: m.
    hidden: hidden width of the perceptrons of learners and fusers.
    registers: learned tokens in front, the first of which is the class token.
    final_norm: whether a layer norm ends the encoder.
    epsilon: of the layer norms of blocks.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: `loc` is out of range.
  """

  def __init__(
    self,
    *,
    grid: tuple[int, int, int],
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    loc: int | None = None,
    frame_tokens: int = 8,
    hidden: int = 64,
    registers: int = 1,
    final_norm: bool = True,
    epsilon: float = 1e-6,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    loc = size.depth // 2 if loc is None else loc
    if not 1 <= loc < size.depth:
      raise ValueError(f"loc must be in [1, {size.depth}), got {loc}")
    self.width, self.num_heads, self.grid = size.width, size.num_heads, grid

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

    def fused(rngs):
      return FusedBlock(
        block(rngs),
        size.width,
        frames=grid[0],
        frame_tokens=frame_tokens,
        hidden=hidden,
        dtype=dtype,
        rngs=rngs,
      )

    self.blocks = Stack(block, loc, remat=remat, rngs=rngs)
    self.fused = Stack(fused, size.depth - loc, remat=remat, rngs=rngs)
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
    """Returns the encoded registers and patches.

    Args:
      tokens: [B, T h w, D], the patches of the grid in raster order.
      layout: None, since frames are not packed.
      key: unused.

    Returns:
      registers + T h w tokens, masked slots zeros. Aux: `tokens`, those that
      enter.

    Raises:
      ValueError: the tokens are not the patches of the grid, or not of this
        width; or there is a layout.
    """
    del key
    expected = math.prod(self.grid), self.width
    if tokens.features.shape[1:] != expected:
      raise ValueError(
        f"tokens must be the patches of {self.grid}, {expected}, got "
        f"{tokens.features.shape[1:]}"
      )
    if layout is not None:
      raise ValueError("token_learner_vit mixes frames, which are not packed")
    entering = tokens = zero_masked(tokens)
    if self.registers.shape[0]:
      tokens = prepend(self.registers[...], tokens)
    context = Context(mask=AttentionMask(keys=tokens.mask))
    x, _ = self.blocks(tokens.features, context)
    x, _ = self.fused(x, tokens.mask, expected[0])
    if self.norm is not None:
      x = self.norm(x)
    tokens = zero_masked(dataclasses.replace(tokens, features=x))
    return tokens, {"tokens": entering}


class FusedBlock(nnx.Module):
  """A block between a learner and a fuser, for the patches of every frame."""

  def __init__(
    self, block, width, *, frames, frame_tokens, hidden, dtype, rngs
  ):
    options = dict(hidden=hidden, dtype=dtype, rngs=rngs)
    self.frames, self.block = frames, block
    self.maps = TokenMaps(width, frame_tokens, **options)
    self.fuser = TokenFuser(width, frame_tokens, **options)

  def __call__(
    self, x: jax.Array, mask: jax.Array, patches: int
  ) -> tuple[jax.Array, dict]:
    """Maps [B, P + N, D] to the same; aux is empty.

    Args:
      x: registers and patches; masked slots hold any numbers.
      mask: [B, P + N] bool.
      patches: N.
    """
    prefix = x.shape[1] - patches
    shape = (x.shape[0], self.frames, -1)
    real = mask[:, prefix:].reshape(shape)  # [B, T, n]
    places = x[:, prefix:].reshape(*real.shape, x.shape[-1])
    places = jnp.where(real[..., None], places, 0)

    learned = average(self.maps(places, real), places).astype(x.dtype)
    seen = jnp.broadcast_to(real.any(-1, keepdims=True), learned.shape[:-1])
    together = jnp.concatenate(
      [x[:, :prefix], learned.reshape(x.shape[0], -1, x.shape[-1])], axis=1
    )
    keys = jnp.concatenate(
      [mask[:, :prefix], seen.reshape(x.shape[0], -1)], axis=1
    )
    y, _ = self.block(together, Context(mask=AttentionMask(keys=keys)))

    places += self.fuser(y[:, prefix:].reshape(learned.shape), places)
    places = places.reshape(x.shape[0], patches, x.shape[-1])
    return jnp.concatenate([y[:, :prefix], places], axis=1), {}
