"""From a grid of features to pixels by way of another model's codes."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.group_residual import GroupResidual, doubled
from trajvit.layers.linear import Linear
from trajvit.layers.norm import GroupNorm


class CodePixels(nnx.Module):
  """Cells say which codes they might be; their mean becomes pixels.

  Source: TiTok, arXiv:2406.07550. Its first stage guesses the codes that a
  frozen MaskGIT-VQGAN has for an image; its second puts the mean of the codes,
  weighted by the guess, through that model's decoder, and trains both.

  Args:
    inputs: width D of the cells.
    num_codes: K of the other model.
    code_dim: width of its codes.
    width: channels of the finest level.
    multipliers: channels of each level over `width`, from fine to coarse; n of
      them make 2^(n - 1) pixels of a side of a cell.
    depth: residual blocks of a level.
    dtype: of the products; the softmax is float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    *,
    num_codes: int = 1024,
    code_dim: int = 256,
    width: int = 128,
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
    depth: int = 2,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    self.inner = Linear(inputs, 2 * inputs, **options)
    self.logits = Linear(2 * inputs, num_codes, **options)
    self.codebook = nnx.Param(
      jax.random.uniform(
        rngs.params(),
        (num_codes, code_dim),
        minval=-1 / num_codes,
        maxval=1 / num_codes,
      )
    )
    self.decoder = VqganDecoder(
      code_dim, width=width, multipliers=multipliers, depth=depth, **options
    )
    self.scale = self.decoder.scale

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps cells [B, h, w, D] to pixels [B, h s, w s, 3], s the `scale`."""
    shares = jax.nn.softmax(self.code_logits(x), axis=-1)
    return self.decoder(shares @ self.codebook[...])

  def code_logits(self, x: jax.Array) -> jax.Array:
    """Returns [..., K] float32, the logits of codes of cells [..., D]."""
    return self.logits(jnp.tanh(self.inner(x))).astype(jnp.float32)


class VqganDecoder(nnx.Module):
  """Codes to pixels: residual blocks of a level, a doubling, and so on.

  Source: the VQGAN of MaskGIT, arXiv:2202.04200: no attention, and residual
  blocks whose shortcut is of their output.

  Args:
    inputs: width of the codes.
    width: see `CodePixels`, and the next two.
    multipliers: from fine to coarse.
    depth: residual blocks of a level.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    *,
    width: int,
    multipliers: tuple[int, ...],
    depth: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    widths = [width * times for times in reversed(multipliers)]
    self.scale = 2 ** (len(widths) - 1)

    def blocks(before, after):
      sizes = [(before, after)] + [(after, after)] * (depth - 1)
      return nnx.List(
        [
          GroupResidual(*size, shortcut="output", bias=False, **options)
          for size in sizes
        ]
      )

    self.conv_in = Conv(inputs, widths[0], 3, bias=True, **options)
    self.middle = blocks(widths[0], widths[0])
    pairs = zip([widths[0], *widths], widths, strict=False)
    self.levels = nnx.List([blocks(*pair) for pair in pairs])
    self.doublings = nnx.List(
      [Conv(n, n, 3, bias=True, **options) for n in widths[:-1]]
    )
    self.norm = GroupNorm(widths[-1], dtype=dtype)
    self.conv_out = Conv(widths[-1], 3, 3, bias=True, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, h, w, inputs] to [B, h s, w s, 3], s the `scale`."""
    x = self.conv_in(x)
    for block in self.middle:
      x = block(x)
    for i, level in enumerate(self.levels):
      if i:
        x = self.doublings[i - 1](doubled(x))
      for block in level:
        x = block(x)
    return self.conv_out(jax.nn.silu(self.norm(x)))
