"""Frozen autoencoders between pixels and what a model reads and makes."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.decoder import clip_keys, without_masked_frames
from trajvit.layers.kl_autoencoder import KLDecoder, KLEncoder
from trajvit.ops.tokens import zero_masked_frames
from trajvit.table import Table
from trajvit.types import Clip


class KLLatents(nnx.Module):
  """The latents of the autoencoder of latent diffusion, frame by frame.

  It is trained elsewhere, and no gradient gets into its weights by way of
  latents; that nothing else changes them is for `optimizer.frozen` to say.
  Source: arXiv:2112.10752; FlexTok, arXiv:2502.13967, reads 16 channels.

  Attributes:
    channels: C.
    factor: rows and columns of pixels to a side of a latent cell.

  Args:
    scaling_factor: that latents are multiplied by, so that their deviation is
      about 1; it belongs to the weights.
    channels: C.
    widths: of the levels, see `layers.kl_autoencoder`, and the next.
    depth: residual blocks of a level.
    maps: whether maps of single cells are around the latents.
    sample: whether latents are drawn, where a key is given; they are the mean
      otherwise, and always at inference.
    dtype: of the products; latents are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    scaling_factor: float,
    channels: int = 16,
    widths: tuple[int, ...] = (128, 256, 512, 512),
    depth: int = 2,
    maps: bool = True,
    sample: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if not scaling_factor > 0:
      raise ValueError(f"scaling_factor must be above 0, got {scaling_factor}")
    self.channels, self.factor = channels, 2 ** (len(widths) - 1)
    self.scaling_factor, self.sample = scaling_factor, sample
    sizes = dict(channels=channels, widths=tuple(widths), depth=depth)
    options = sizes | dict(dtype=dtype, rngs=rngs)
    self.encoder = KLEncoder(last_map=maps, **options)
    self.decoder = KLDecoder(first_map=maps, **options)

  def shape(self, clip_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns (T, h, w), the latents' of a clip (T, H, W).

    Raises:
      ValueError: H or W are no multiples of `factor`.
    """
    frames, *sides = clip_shape
    if any(side % self.factor for side in sides):
      raise ValueError(
        f"frames must have multiples of {self.factor} rows and columns to have "
        f"latents, got {tuple(sides)}"
      )
    return (frames, *(side // self.factor for side in sides))

  def encode(self, clip: Clip, *, key=None) -> Clip:
    """Returns the clip with latents [B, T, h, w, C] float32 as its frames.

    Args:
      clip: `frames` [B, T, H, W, 3] in [-1, 1].
      key: given in training, one or [B].
    """
    clip = zero_masked_frames(clip)
    batch, frames, *image = clip.frames.shape
    mean, log_variance = (
      x.reshape(batch, frames, *x.shape[1:])
      for x in self.encoder(clip.frames.reshape(-1, *image))
    )
    if self.sample and key is not None:
      noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))
      mean += jnp.exp(log_variance / 2) * noise(clip_keys(key, batch))
    latents = jax.lax.stop_gradient(mean * self.scaling_factor)
    latents = without_masked_frames(latents, clip.frame_mask)
    return dataclasses.replace(clip, frames=latents)

  def decode(
    self, latents: jax.Array, *, frame_mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns frames [B, T, H, W, 3] float32, of about [-1, 1].

    Args:
      latents: [B, T, h, w, C], scaled.
      frame_mask: [B, T] bool or None; what it masks is zeros.
    """
    batch, frames, *cells = latents.shape
    made = self.decoder(latents.reshape(-1, *cells) / self.scaling_factor)
    made = made.reshape(batch, frames, *made.shape[1:])
    return without_masked_frames(made, frame_mask)


LATENTS = Table("kind of latents", {"kl": KLLatents})
