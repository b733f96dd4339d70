"""Numbers rounded to a few levels each (FSQ), arXiv:2309.15505."""

import jax
import jax.numpy as jnp
import numpy as np

# How far beyond the outermost levels the range reaches, so that they are
# rounded to before tanh is flat.
MARGIN = 1e-3


def squash(x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
  """Returns `x` within the range of its levels, before rounding.

  b = tanh(x + s) h - o, with h = (L - 1) (1 + 10^-3) / 2, o = 1/2 for even L
  and 0 for odd, and s = atanh(o / h), so that 0 stays 0.

  Args:
    x: [..., d] float.
    levels: L of each of the d channels, at least 2.

  Returns:
    [..., d] float32, in about [-L/2, L/2 - 1] for even L, and in about
    [-(L - 1)/2, (L - 1)/2] for odd.
  """
  count = np.asarray(levels, np.float64)
  half = (count - 1) * (1 + MARGIN) / 2
  offset = np.where(count % 2 == 0, 0.5, 0.0)
  shift = np.arctanh(offset / half)
  half, offset, shift = (v.astype(np.float32) for v in (half, offset, shift))
  return jnp.tanh(x.astype(jnp.float32) + shift) * half - offset


def to_levels(x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
  """Returns the digits of squashed numbers, rounded: [..., d] int32 in [0, L).

  No gradient passes.
  """
  half = _half(levels)
  last = np.asarray(levels, np.int32) - 1
  rounded = jnp.round(jax.lax.stop_gradient(x)).astype(jnp.int32)
  return jnp.clip(rounded + half, 0, last)


def from_levels(digits: jax.Array, levels: tuple[int, ...]) -> jax.Array:
  """Returns the codes of digits: (digit - floor(L/2)) / floor(L/2).

  Args:
    digits: [..., d] int32 in [0, L).
    levels: L of each channel.

  Returns:
    [..., d] float32; in [-1, 1] for odd L, in [-1, 1 - 2/L] for even L, which
    is not symmetric.
  """
  half = _half(levels)
  return normalize((digits - half).astype(jnp.float32), levels)


def normalize(x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
  """Returns x / floor(L/2): squashed numbers on the scale of codes."""
  return x / _half(levels).astype(np.float32)


def _half(levels):
  return np.asarray(levels, np.int32) // 2
