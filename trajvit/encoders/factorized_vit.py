"""ViViT's factorised encoder: the patches of a frame first, then the frames."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.tokens import prepend, zero_masked
from trajvit.types import Layout, Tokens


class FactorizedViT(nnx.Module):
  """A ViT over the patches of every frame, then one over the frames (ViViT).

  Source: ViViT, arXiv:2103.15691, model 2. A class token reads the patches of
  its frame; the class tokens of all frames, normalised, then read each other.
  The paper puts 4 blocks over frames behind a whole ViT. Here the blocks are
  those of one ViT, and half of them are over frames, as in the baseline of
  TrajViT, arXiv:2505.23617. A frame here is a layer of tubelets, which know
  when they are, so that frames have no positions of their own.

  Args:
    grid: (T, h, w) of the patches.
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks, over patches and over frames.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    frame_depth: blocks over frames, in [1, depth); None is half of them.
    registers: learned tokens in front of the frames, the first of which is the
      class token of the clip.
    final_norm: whether a layer norm ends the encoder.
    epsilon: of the layer norms.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: `frame_depth` is out of range.
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
    frame_depth: int | None = None,
    registers: int = 1,
    final_norm: bool = True,
    epsilon: float = 1e-6,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    size = transformer_size(variant, width, depth, num_heads, mlp_dim)
    if frame_depth is None:
      frame_depth = size.depth // 2
    if not 1 <= frame_depth < size.depth:
      raise ValueError(
        f"frame_depth must be in [1, {size.depth}), got {frame_depth}"
      )
    self.width, self.num_heads = size.width, size.num_heads
    self.grid = tuple(grid)

    def block(rngs):
      return Block(
        size.width,
        size.num_heads,
        size.mlp_dim,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

    options = dict(remat=remat, rngs=rngs)
    self.patch_blocks = Stack(block, size.depth - frame_depth, **options)
    self.frame_blocks = Stack(block, frame_depth, **options)
    init = nnx.initializers.normal(0.02)
    self.cls = nnx.Param(init(rngs.params(), (1, size.width)))
    self.registers = nnx.Param(init(rngs.params(), (registers, size.width)))
    self.frame_norm = LayerNorm(size.width, epsilon=epsilon, dtype=dtype)
    self.norm = (
      LayerNorm(size.width, epsilon=epsilon, dtype=dtype)
      if final_norm
      else None
    )

  def __call__(
    self, tokens: Tokens, *, layout: Layout | None = None, key=None
  ) -> tuple[Tokens, dict]:
    """Returns the encoded registers and one token a frame.

    Args:
      tokens: [B, T h w, D], the patches of the grid in raster order.
      layout: None, since frames are not packed.
      key: unused.

    Returns:
      registers + T tokens; a frame is where the mean of its patches is, and of
      the size of all of them; one without a real patch is masked. Aux:
      `tokens`, those that enter.

    Raises:
      ValueError: the tokens are not the patches of the grid, or not of this
        width; or there is a layout.
    """
    del key
    frames, rows, columns = self.grid
    expected = frames * rows * columns, self.width
    if tokens.features.shape[1:] != expected:
      raise ValueError(
        f"tokens must be the patches of {self.grid}, {expected}, got "
        f"{tokens.features.shape[1:]}"
      )
    if layout is not None:
      raise ValueError("factorized_vit reads frames, which are not packed")
    entering = zero_masked(tokens)
    tokens = prepend(self.registers[...], self._frames(entering))
    context = Context(mask=AttentionMask(keys=tokens.mask))
    x, _ = self.frame_blocks(tokens.features, context)
    if self.norm is not None:
      x = self.norm(x)
    encoded = dataclasses.replace(tokens, features=x)
    return zero_masked(encoded), {"tokens": entering}

  def _frames(self, tokens) -> Tokens:
    """One token a frame, the class token that has read its patches."""
    batch, frames = tokens.mask.shape[0], self.grid[0]

    def by_frame(x):  # [B, T n, ...] -> [B T, n, ...]
      return x.reshape(batch * frames, -1, *x.shape[2:])

    plain = dataclasses.replace(tokens, protected=None)
    patches = jax.tree.map(by_frame, plain)
    read = prepend(self.cls[...], patches)
    context = Context(mask=AttentionMask(keys=read.mask))
    x, _ = self.patch_blocks(read.features, context)

    real = jnp.maximum(patches.mask.sum(1, keepdims=True), 1)
    found = Tokens(
      features=self.frame_norm(x[:, 0]),
      mask=patches.mask.any(1),
      positions=patches.positions.sum(1) / real,
      size=patches.size.sum(1),
    )
    return jax.tree.map(lambda x: x.reshape(batch, frames, *x.shape[1:]), found)
