"""Structural similarity, of patches and of whole frames.

Source: SSIM, Wang et al., 2004.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.masked import only_real, real_pair

# Of a frame's windows, as in the paper: pixels on a side, and the deviation of
# the Gaussian that weighs them.
WINDOW, SIGMA = 11, 1.5


def patch_ssim(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns how alike two patches are in mean, contrast and structure.

  The patch is the one window, all of whose pixels count alike.

  Args:
    x: [..., p] float32, pixels in [0, 1].
    y: likewise.

  Returns:
    [...] float32 in [-1, 1], 1 for equal patches.
  """
  mean_x, mean_y = x.mean(-1), y.mean(-1)
  from_x, from_y = x - mean_x[..., None], y - mean_y[..., None]
  spread = (jnp.square(from_x) + jnp.square(from_y)).mean(-1)
  shared = (from_x * from_y).mean(-1)
  return _similarity(mean_x, mean_y, spread, shared)


def ssim(
  x: jax.Array,
  y: jax.Array,
  *,
  max: float = 1.0,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns how alike each frame is to another, the mean over its windows.

  Windows of 11 x 11 pixels, weighed by a Gaussian of deviation 1.5, lie within
  the frame, one around each pixel that has room for it. Channels are compared
  by themselves and averaged. Variances are those of the weights, without the
  correction n / (n - 1).

  Args:
    x: [..., H, W, C], uint8 or float in [0, max]; pixels in [-1, 1] must be
      moved there first, as their means are compared.
    y: likewise.
    max: the range of the pixels, 1 or 255.
    mask: [...] bool, True = real frame; None: all are.

  Returns:
    [...] float32 in [-1, 1], 1 for equal frames; 0 in masked frames.

  Raises:
    ValueError: frames or mask differ in shape, a side is below 11, or `max` is
      not positive.
  """
  if not max > 0:
    raise ValueError(f"max must be positive, got {max}")
  x, y = real_pair(x, y, mask)
  height, width = x.shape[-3:-1]
  if min(height, width) < WINDOW:
    raise ValueError(
      f"SSIM needs frames of {WINDOW} x {WINDOW} pixels or more, "
      f"got {height} x {width}"
    )
  x, y = x / max, y / max
  down, across = _windows(height), _windows(width)

  def average(z):
    """[..., H, W, C] to the windows' means, [..., H - 10, W - 10, C]."""
    highest = jax.lax.Precision.HIGHEST
    z = jnp.einsum("ih,...hwc->...iwc", down, z, precision=highest)
    return jnp.einsum("jw,...iwc->...ijc", across, z, precision=highest)

  mean_x, mean_y = average(x), average(y)
  spread = average(jnp.square(x) + jnp.square(y))
  spread -= jnp.square(mean_x) + jnp.square(mean_y)
  shared = average(x * y) - mean_x * mean_y
  alike = _similarity(mean_x, mean_y, spread, shared)
  return only_real(alike.mean((-3, -2, -1)), mask)


def _similarity(mean_x, mean_y, spread, shared):
  """SSIM of windows of pixels in [0, 1].

  `spread` is the sum of their two variances and `shared` their covariance.
  """
  steady, small = 0.01**2, 0.03**2
  level = 2 * mean_x * mean_y + steady
  level /= jnp.square(mean_x) + jnp.square(mean_y) + steady
  return level * (2 * shared + small) / (spread + small)


def _windows(length):
  """[length - 10, length]: row i has the weights of the window from i on."""
  offset = np.arange(WINDOW) - WINDOW // 2
  weights = np.exp(-0.5 * (offset / SIGMA) ** 2)
  weights /= weights.sum()
  rows = np.arange(length - WINDOW + 1)[:, None]
  out = np.zeros((len(rows), length), np.float32)
  out[rows, rows + np.arange(WINDOW)] = weights
  return out
