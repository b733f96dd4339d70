"""Positions as features: sinusoids, Fourier features and rotary phases."""

import jax
import jax.numpy as jnp
import numpy as np


def sinusoid(
  coordinates: jax.Array, width: int, *, bank: str = "separate"
) -> jax.Array:
  """Returns [..., width] float32 sines and cosines of `coordinates`.

  Coordinate j of d fills the block of channels [j * width/d, (j+1) * width/d),
  sine at even and cosine at odd channels of the whole vector.

  Args:
    coordinates: [..., d] in [0, 1].
    width: number of channels, divisible by 2 d.
    bank: "separate": every coordinate has its own frequencies, geometric from
      2 pi to 2 pi * 100, so that all are resolved alike. "shared": TrajViT's
      (arXiv:2505.23617) single ramp 10000^(-i / width) over all channels i, in
      which the last coordinate is hardly visible; for imported weights only.

  Raises:
    ValueError: an unknown bank, or a width that does not divide.
  """
  count = coordinates.shape[-1]
  if width % (2 * count):
    raise ValueError(f"width must be divisible by {2 * count}, got {width}")
  block = width // count
  if bank == "shared":
    frequencies = 10000.0 ** (-np.arange(width) / width).reshape(count, block)
  elif bank == "separate":
    octaves = np.repeat(np.linspace(0, 1, block // 2), 2)
    frequencies = np.tile(2 * np.pi * 100.0**octaves, (count, 1))
  else:
    raise ValueError(f"bank must be 'separate' or 'shared', got {bank!r}")
  phase = coordinates.astype(jnp.float32)[..., None] * frequencies
  phase = phase.reshape(coordinates.shape[:-1] + (width,))
  even = np.arange(width) % 2 == 0
  return jnp.where(even, jnp.sin(phase), jnp.cos(phase))


def fourier(coordinates: jax.Array, count: int) -> jax.Array:
  """Returns sines and cosines at half-octave steps, and the coordinates.

  Args:
    coordinates: [..., d] in [0, 1].
    count: number of frequencies, pi * 2^(i / 2).

  Returns:
    [..., 2 * count * d + d] float32; the last d are 2 x - 1.
  """
  x = coordinates.astype(jnp.float32)
  phase = x[..., None] * (np.pi * 2.0 ** (np.arange(count) / 2))
  phase = phase.reshape(x.shape[:-1] + (-1,))
  return jnp.concatenate([jnp.sin(phase), jnp.cos(phase), 2 * x - 1], axis=-1)


def rotary(x: jax.Array, positions: jax.Array, rotary_dim: int) -> jax.Array:
  """Returns `x` with its first `rotary_dim` channels rotated by position.

  Interleaved pairs (2i, 2i + 1) turn by position * 10000^(-2i / rotary_dim);
  the other channels pass through. Source: RoFormer, arXiv:2104.09864.

  Args:
    x: [..., N, K, d].
    positions: [N], or [B, N] for x [B, N, K, d], of any number type.
    rotary_dim: even, at most d.
  """
  if rotary_dim % 2 or rotary_dim > x.shape[-1]:
    raise ValueError(
      f"rotary_dim must be even and at most {x.shape[-1]}, got {rotary_dim}"
    )
  frequencies = 10000.0 ** (-np.arange(0, rotary_dim, 2) / rotary_dim)
  return _turn(x, positions.astype(jnp.float32)[..., None] * frequencies)


def rotary_3d(x: jax.Array, positions: jax.Array) -> jax.Array:
  """Returns `x` with channels turned by frame, row and column.

  With P = d // 12 frequencies 10000^(-i / P), the first 2 P channels are turned
  by the frame, the next 2 P by the row and the next 2 P by the column, in
  interleaved pairs as in `rotary`; the other channels pass through. Source: the
  3-D variant of TrajTok's perceiver.

  Args:
    x: [..., N, K, d], d >= 12.
    positions: [N, 3] of any number type, (frame, row, column) indices.

  Raises:
    ValueError: heads too narrow for one frequency.
  """
  count = x.shape[-1] // 12
  if not count:
    raise ValueError(
      f"3-D rotary phases need heads of at least 12 channels, got {x.shape[-1]}"
    )
  frequencies = 10000.0 ** (-np.arange(count) / count)
  angle = positions.astype(jnp.float32)[..., None] * frequencies  # [N, 3, P]
  return _turn(x, angle.reshape(-1, 3 * count))


def rotary_cells(x: jax.Array, grid: tuple[int, int, int]) -> jax.Array:
  """Returns `x` with channels turned by the frame, row and column of a cell.

  Each has 2 P channels, P = d // 6, those of the frame first. Channel c of them
  is cos(a) x_c + sin(a) y_c, y being its pair (x_2i, x_2i+1) turned by 90
  degrees, and a = index * 10000^(-(c mod P) / P). The two channels of a pair
  thus have different angles, and it is no rotation: this is what the weights of
  V-JEPA 2, arXiv:2506.09985, were trained with, and for them alone.

  Args:
    x: [..., t h w, K, d], d >= 6, in raster order.
    grid: (t, h, w).
  """
  count = x.shape[-1] // 6
  frequencies = np.tile(10000.0 ** (-np.arange(count) / count), 2)
  cells = np.stack(np.indices(grid), -1).reshape(-1, 3, 1)
  angle = (cells * frequencies).reshape(len(cells), 1, 6 * count)
  turned, rest = jnp.split(x.astype(jnp.float32), [6 * count], axis=-1)
  even, odd = turned[..., 0::2], turned[..., 1::2]
  quarter = jnp.stack([-odd, even], axis=-1).reshape(turned.shape)
  cosine, sine = (f(angle).astype(np.float32) for f in (np.cos, np.sin))
  turned = turned * cosine + quarter * sine
  return jnp.concatenate([turned, rest], axis=-1).astype(x.dtype)


def _turn(x, angle):
  """Turns pair i of [..., N, K, d] by `angle` [..., N, pairs], in float32."""
  angle = angle[..., None, :]
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  turned, rest = jnp.split(x, [2 * angle.shape[-1]], axis=-1)
  even, odd = turned[..., 0::2], turned[..., 1::2]
  pairs = [even * cosine - odd * sine, odd * cosine + even * sine]
  turned = jnp.stack(pairs, axis=-1).reshape(turned.shape)
  return jnp.concatenate([turned.astype(x.dtype), rest], axis=-1)
