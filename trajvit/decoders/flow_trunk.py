"""The network of a flow decoder: noised patches and tokens to a velocity."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.linear import Linear
from trajvit.layers.modulated_block import (
  ModulatedBlock,
  ModulatedHead,
  NoiseLevel,
)
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.sincos import sincos_grid, sincos_plane
from trajvit.ops.token_size import log_size
from trajvit.types import Tokens


class FlowTrunk(nnx.Module):
  """Patches and tokens in one sequence, modulated by the noise level.

  Source: FlexTok, arXiv:2502.13967. Patches get a fixed position embedding;
  patches and tokens have a modulation each. At first the blocks are the
  identity and the result is zero.

  Args:
    grid: (t, h, w) patches.
    pixels: p, numbers in a patch.
    width: D.
    depth: number of blocks.
    num_heads: K.
    max_timestep: see `ops.sincos.timestep`.
    plane: whether positions are those of row and column alone.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; the result is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    grid: tuple[int, int, int],
    pixels: int,
    width: int,
    *,
    depth: int,
    num_heads: int,
    max_timestep: float = 1.0,
    plane: bool = False,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.grid, self.depth = grid, depth
    self.table = sincos_plane if plane else sincos_grid
    options = dict(dtype=dtype, rngs=rngs)
    self.stem = Linear(pixels, width, **options)
    self.level = NoiseLevel(width, max_timestep=max_timestep, **options)

    def block(rngs):
      return ModulatedBlock(width, num_heads, groups=2, dtype=dtype, rngs=rngs)

    self.blocks = Stack(block, depth, remat=remat, rngs=rngs)
    self.head = ModulatedHead(width, pixels, **options)

  def __call__(
    self,
    patches: jax.Array,
    sigma: jax.Array,
    tokens: Tokens,
    mask: jax.Array,
    *,
    hidden: int | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Returns the velocity [B, P, p] float32, and `hidden` or None.

    Args:
      patches: [B, P, p] at the noise level `sigma`; finite where masked.
      sigma: [B] in [0, 1].
      tokens: [B, N, D] of the trunk's width.
      mask: [B, P] bool, False = a patch that no other token reads.
      hidden: a block, from 0, after which the patches are to be returned,
        [B, P, D].
    """
    x = self.stem(patches)  # [B, P, D]
    count, width = x.shape[1:]
    x += self.table(self.grid, width).reshape(count, width).astype(x.dtype)
    x = jnp.concatenate([x, tokens.features.astype(x.dtype)], axis=1)
    context = Context(
      mask=AttentionMask(keys=jnp.concatenate([mask, tokens.mask], axis=1)),
      bias=jnp.pad(log_size(tokens), ((0, 0), (count, 0))),
    )
    condition = self.level(sigma)
    lengths = count, tokens.mask.shape[1]
    x, _, kept = self.blocks.with_output_of(
      hidden, x, condition, lengths, context
    )
    velocity = self.head(x[:, :count], condition).astype(jnp.float32)
    return velocity, None if kept is None else kept[:, :count]
