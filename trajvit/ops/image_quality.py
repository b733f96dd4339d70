"""How far frames are from others, frame by frame: PSNR and gradients.

Means over frames are taken afterwards, by `ops.masked.real_mean`: the mean of
PSNRs is not the PSNR of a mean. SSIM is in `ops.ssim`.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.masked import only_real, real_pair

# What equal frames have, instead of infinity, and no frame exceeds: a single
# value that is off by 1 of 255 levels is 100 dB in a frame of 224 x 224 pixels.
LARGEST_PSNR = 100.0


def psnr(
  x: jax.Array,
  y: jax.Array,
  *,
  max: float = 1.0,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns the peak signal-to-noise ratio of each frame, in dB.

  It is 10 log10(max^2 / MSE), MSE the mean over a frame's pixels and channels.

  Args:
    x: [..., H, W, C], uint8 or float.
    y: likewise.
    max: the range of the pixels: 1 for [0, 1], 2 for [-1, 1], 255 for uint8.
    mask: [...] bool, True = real frame; None: all are.

  Returns:
    [...] float32, at most LARGEST_PSNR, which equal frames have; 0 in masked
    frames.

  Raises:
    ValueError: frames or mask differ in shape, or `max` is not positive.
  """
  if not max > 0:
    raise ValueError(f"max must be positive, got {max}")
  x, y = real_pair(x, y, mask)
  error = jnp.square((x - y) / max).mean((-3, -2, -1))
  least = 10 ** (-LARGEST_PSNR / 10)
  return only_real(-10 * jnp.log10(jnp.maximum(error, least)), mask)


def gradient_difference(
  x: jax.Array, y: jax.Array, *, mask: jax.Array | None = None
) -> jax.Array:
  """Returns how far the slopes of each frame are from those of another.

  The mean of |d_h x - d_h y| plus that of |d_w x - d_w y|, d the difference of
  neighbours in a column or a row: blur and wrong edges count, a wrong constant
  does not. Unlike the loss of arXiv:1511.05440, slopes keep their signs.

  Args:
    x: [..., H, W, C] float.
    y: likewise.
    mask: [...] bool, True = real frame; None: all are.

  Returns:
    [...] float32; 0 in masked frames.

  Raises:
    ValueError: frames or mask differ in shape, or H or W is below 2.
  """
  x, y = real_pair(x, y, mask)
  if min(x.shape[-3:-1]) < 2:
    raise ValueError(
      f"frames need 2 x 2 pixels to have slopes, got {x.shape[-3:-1]}"
    )
  off = x - y
  rows = jnp.abs(jnp.diff(off, axis=-3)).mean((-3, -2, -1))
  columns = jnp.abs(jnp.diff(off, axis=-2)).mean((-3, -2, -1))
  return rows + columns
