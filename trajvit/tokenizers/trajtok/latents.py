"""Where the latents of TrajTok start: on smooth curves, nearly alike.

Both banks go through a random matrix with orthonormal rows, so that they keep
their geometry in D channels. Nothing here depends on the number of frames.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

# Standard deviation of what tells two equal latents apart, and the scale of
# the whole. Layer norms read the latents next, whose epsilon feels the scale.
JITTER, SCALE = 1e-3, 0.02


def grid_coordinates(count: int) -> np.ndarray:
  """Returns [count, 2] float32 (row, column) in [0, 1], in raster order.

  The grid has ceil(sqrt(count)) rows and as few columns as hold the rest.
  """
  rows = math.isqrt(count - 1) + 1
  columns = -(-count // rows)
  axes = np.linspace(0, 1, rows), np.linspace(0, 1, columns)
  grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
  return grid[:count].astype(np.float32)


def grid_latents(key: jax.Array, count: int, width: int) -> jax.Array:
  """Returns [count, width] latents for slots: Fourier features of a grid.

  Args:
    key: of the random matrix and of the jitter.
    count: M; it also sets the number of frequencies, floor(sqrt(M) / 2).
    width: D.
  """
  frequencies = np.arange(1, max(int(math.sqrt(count) / 2), 1) + 1)
  phase = 2 * np.pi * grid_coordinates(count)[..., None] * frequencies
  bank = np.concatenate([np.sin(phase), np.cos(phase)], axis=-1)
  return _spread(key, bank.reshape(count, -1), width)


def ring_latents(
  key: jax.Array, slots: int, count: int, width: int
) -> jax.Array:
  """Returns [slots, count, width] latents for what is read of every slot.

  The latents of a slot lie on a ring; all slots have the same ring, up to the
  jitter: what tells them apart is what they read.

  Args:
    key: of the random matrix and of the jitter.
    slots: M.
    count: latents of a slot.
    width: D.
  """
  angle = 2 * np.pi * np.arange(count)[:, None] / count * np.arange(1, 3)
  bank = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)  # [count, 4]
  bank = np.broadcast_to(bank, (slots, count, 4)).reshape(-1, 4)
  return _spread(key, bank, width).reshape(slots, count, width)


def _spread(key, bank, width):
  """Rows of norm 1, in `width` channels by an isometry, jittered, scaled."""
  bank = bank / np.linalg.norm(bank, axis=-1, keepdims=True)
  matrix_key, jitter_key = jax.random.split(key)
  features = bank.shape[1]
  if features > width:
    latents = jnp.asarray(bank[:, :width])
  else:
    normal = jax.random.normal(matrix_key, (width, features))
    latents = bank @ jnp.linalg.qr(normal)[0].T
  jitter = jax.random.normal(jitter_key, latents.shape)
  return SCALE * (latents + JITTER * jitter).astype(jnp.float32)
