"""Sines and cosines of grid indices and of noise levels, as tables.

`ops.position.sinusoid` is for coordinates in [0, 1]; these count in whole
cells and in steps of a diffusion, as released weights expect.
"""

import jax
import jax.numpy as jnp
import numpy as np


def sincos_grid(grid: tuple[int, ...], width: int) -> np.ndarray:
  """Returns [*grid, width] float32, a fixed embedding of every cell's indices.

  With d axes and C = width // (2 d), axis j fills 2 C channels from 2 C j on:
  C sines and then C cosines of index * 10000^(-i / C). Channels that are left
  over at the end are zeros. On a plane the first half varies with the row.
  Source: the 2-D table of MoCo v3, arXiv:2104.02057.

  Raises:
    ValueError: a width too small for one frequency an axis.
  """
  count = width // (2 * len(grid))
  if not count:
    raise ValueError(
      f"{len(grid)} axes need a width of at least {2 * len(grid)}, got {width}"
    )
  frequencies = 10000.0 ** (-np.arange(count) / count)
  table = np.zeros((*grid, width), np.float32)
  for axis, indices in enumerate(np.indices(grid)):
    phase = indices[..., None] * frequencies  # [*grid, C]
    start = 2 * count * axis
    both = np.concatenate([np.sin(phase), np.cos(phase)], axis=-1)
    table[..., start : start + 2 * count] = both
  return table


def sincos_plane(grid: tuple[int, int, int], width: int) -> np.ndarray:
  """Returns [t, h, w, width] float32, `sincos_grid` of (h, w) in every frame.

  Raises:
    ValueError: a width below 4.
  """
  return np.broadcast_to(sincos_grid(grid[1:], width), (*grid, width))


def sincos_sequence(count: int, width: int) -> np.ndarray:
  """Returns [count, width] float32, a fixed embedding of places in a sequence.

  Channels 2 i and 2 i + 1 are sine and cosine of index * 10000^(-2 i / width).
  Source: arXiv:1706.03762, as in VideoMAE, arXiv:2203.12602.
  """
  pair = np.arange(width) // 2
  phase = np.arange(count)[:, None] * 10000.0 ** (-2 * pair / width)
  even = np.arange(width) % 2 == 0
  return np.where(even, np.sin(phase), np.cos(phase)).astype(np.float32)


def sincos_halves(count: int, width: int) -> np.ndarray:
  """Returns [count, width] float32, a fixed embedding of places in a sequence.

  With C = width // 2 there are C sines and then C cosines of index *
  10000^(-i / (C - 1)): the slowest turns exactly 10000 times slower than the
  fastest, as it does not in `sincos_grid`. An odd width ends in zeros.
  Source: the code of arXiv:1706.03762, as in VideoPrism, arXiv:2402.13217.
  """
  half = width // 2
  frequencies = 10000.0 ** (-np.arange(half) / max(half - 1, 1))
  phase = np.arange(count)[:, None] * frequencies
  table = np.zeros((count, width), np.float32)
  table[:, :half], table[:, half : 2 * half] = np.sin(phase), np.cos(phase)
  return table


def timestep(
  t: jax.Array,
  *,
  width: int = 256,
  max_period: float = 256.0,
  max_timestep: float = 1.0,
) -> jax.Array:
  """Returns [..., width] float32, cosines and then sines of a noise level.

  The phases are (1000 / max_timestep) t max_period^(-i / C) for C = width / 2.
  Source: DiT, arXiv:2212.09748, with FlexTok's period of 256.

  Args:
    t: [...] in [0, max_timestep].
    width: even.
    max_period: ratio of the highest to the lowest frequency.
    max_timestep: the value of t that stands for 1000 steps. Some configs of
      released weights have 1000 beside a t in [0, 1], which then hardly varies;
      it is theirs to say.

  Raises:
    ValueError: an odd width.
  """
  if width % 2:
    raise ValueError(f"width must be even, got {width}")
  count = width // 2
  frequencies = max_period ** (-np.arange(count) / count)
  frequencies = (1000 / max_timestep * frequencies).astype(np.float32)
  phase = t.astype(jnp.float32)[..., None] * frequencies
  return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)
