"""The two halves of the convolutional autoencoder of latent diffusion.

Source: arXiv:2112.10752, in the shape of `AutoencoderKL` of Hugging Face's
`diffusers`, for its weights.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.conv import Conv
from trajvit.layers.group_residual import GroupResidual, doubled
from trajvit.layers.norm import GroupNorm


class Middle(nnx.Module):
  """Two residual blocks, and attention of one head between them.

  Args:
    width: D, a multiple of 32.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(self, width: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.first = GroupResidual(width, width, **options)
    self.norm = GroupNorm(width, dtype=dtype)
    self.attention = SelfAttention(width, 1, **options)
    self.second = GroupResidual(width, width, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, H, W, D]; all cells of an image meet."""
    x = self.first(x)
    cells = self.norm(x).reshape(x.shape[0], -1, x.shape[-1])
    return self.second(x + self.attention(cells)[0].reshape(x.shape))


class Level(nnx.Module):
  """Residual blocks at one resolution, and a convolution to the next one.

  Args:
    inputs: channels in.
    outputs: channels out.
    depth: number of blocks.
    change: "halve" or "double" the resolution behind them, or "keep" it.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    depth: int,
    change: str,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    widths = [inputs] + [outputs] * (depth - 1)
    self.blocks = nnx.List(
      [GroupResidual(width, outputs, **options) for width in widths]
    )
    self.double = change == "double"
    # Halving pads behind alone, as the weights were trained.
    how = dict(stride=2, padding=(0, 1)) if change == "halve" else {}
    self.resize = (
      None
      if change == "keep"
      else Conv(outputs, outputs, 3, bias=True, **how, **options)
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H', W', outputs]."""
    for block in self.blocks:
      x = block(x)
    if self.resize is None:
      return x
    return self.resize(doubled(x) if self.double else x)


class KLEncoder(nnx.Module):
  """Images to the moments of their latents, at a lower resolution.

  Args:
    channels: C of the latents.
    widths: of the levels, the finest first, multiples of 32; between two of
      them rows and columns are halved.
    depth: residual blocks of a level.
    last_map: whether a map of single cells ends it.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    channels: int,
    widths: tuple[int, ...],
    depth: int,
    last_map: bool = True,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    self.embed = Conv(3, widths[0], 3, bias=True, **options)
    self.levels = _levels(widths, "halve", depth=depth, **options)
    self.middle = Middle(widths[-1], **options)
    self.norm = GroupNorm(widths[-1], dtype=dtype)
    self.out = Conv(widths[-1], 2 * channels, 3, bias=True, **options)
    self.last_map = (
      Conv(2 * channels, 2 * channels, 1, bias=True, **options)
      if last_map
      else None
    )

  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and logarithm of the variance, each [B, h, w, C] float32.

    Args:
      images: [B, H, W, 3] in [-1, 1].
    """
    x = self.embed(images)
    for level in self.levels:
      x = level(x)
    x = self.out(jax.nn.silu(self.norm(self.middle(x))))
    x = x if self.last_map is None else self.last_map(x)
    mean, log_variance = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return mean, jnp.clip(log_variance, -30, 20)


class KLDecoder(nnx.Module):
  """Latents to images; its levels have a block more than the encoder's.

  Args:
    channels: C of the latents.
    widths: as the encoder has them, the finest first.
    depth: of the encoder.
    first_map: whether a map of single cells begins it.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    channels: int,
    widths: tuple[int, ...],
    depth: int,
    first_map: bool = True,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = dict(dtype=dtype, rngs=rngs)
    widths = tuple(reversed(widths))
    self.first_map = (
      Conv(channels, channels, 1, bias=True, **options) if first_map else None
    )
    self.embed = Conv(channels, widths[0], 3, bias=True, **options)
    self.middle = Middle(widths[0], **options)
    self.levels = _levels(widths, "double", depth=depth + 1, **options)
    self.norm = GroupNorm(widths[-1], dtype=dtype)
    self.out = Conv(widths[-1], 3, 3, bias=True, **options)

  def __call__(self, latents: jax.Array) -> jax.Array:
    """Returns images [B, H, W, 3] float32, of about [-1, 1].

    Args:
      latents: [B, h, w, C], not scaled.
    """
    x = latents if self.first_map is None else self.first_map(latents)
    x = self.middle(self.embed(x))
    for level in self.levels:
      x = level(x)
    return self.out(jax.nn.silu(self.norm(x))).astype(jnp.float32)


def _levels(widths, change, **options):
  """A Level of each width; all but the last change the resolution."""
  before = [widths[0], *widths[:-1]]
  changes = [change] * (len(widths) - 1) + ["keep"]
  return nnx.List(
    [
      Level(inputs, outputs, change=change, **options)
      for inputs, outputs, change in zip(before, widths, changes, strict=True)
    ]
  )
