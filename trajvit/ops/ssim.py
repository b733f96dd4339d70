"""Structural similarity of patches."""

import jax
import jax.numpy as jnp


def patch_ssim(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns how alike two patches are in mean, contrast and structure.

  SSIM (Wang et al., 2004) with the patch as its one window, all of whose pixels
  count alike.

  Args:
    x: [..., p] float32, pixels in [0, 1].
    y: likewise.

  Returns:
    [...] float32 in [-1, 1], 1 for equal patches.
  """
  steady, small = 0.01**2, 0.03**2
  mean_x, mean_y = x.mean(-1), y.mean(-1)
  from_x, from_y = x - mean_x[..., None], y - mean_y[..., None]
  spread = (jnp.square(from_x) + jnp.square(from_y)).mean(-1)
  shared = (from_x * from_y).mean(-1)
  level = 2 * mean_x * mean_y + steady
  level /= jnp.square(mean_x) + jnp.square(mean_y) + steady
  return level * (2 * shared + small) / (spread + small)
