"""Orders: in which sequence the tokens of a clip are stored.

Attention does not care about the order of its tokens, the cost of sparse
attention does: blocks are cut from the sequence, and a tile is computed if any
two of its tokens meet. An order is a list of sort keys, written once and used
twice: on the host for a grid, and inside jit for tokens known only there.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.attention.coordinates import Coordinates
from trajvit.table import Table

# Bits of a coordinate on a space-filling curve; three of them fit an int32.
CURVE_BITS = 10


@dataclasses.dataclass(frozen=True)
class Order:
  """A sequence of the tokens of a clip; immutable and hashable."""

  def keys(self, t, y, x) -> tuple:
    """Returns sort keys, most significant first, of three integer arrays.

    They are NumPy or jax arrays of one shape, and so is every key.
    """
    raise NotImplementedError

  def permutation(self, grid: tuple[int, int, int]) -> np.ndarray:
    """Returns [T * h * w] int32: the raster index of the token at each place.

    Args:
      grid: (T, h, w).

    Raises:
      ValueError: `grid` is not three positive numbers, or is too long for a
        space-filling curve.
    """
    t, y, x = grid_coordinates(grid)
    if isinstance(self, _Curve) and max(grid) > 1 << CURVE_BITS:
      raise ValueError(
        f"a curve takes grids of up to {1 << CURVE_BITS} an axis, got {grid}"
      )
    return np.lexsort(self.keys(t, y, x)[::-1]).astype(np.int32)

  def sort(self, coordinates: Coordinates) -> jax.Array:
    """Returns [B, N] int32, the place where each token of the order lies now.

    Segments come one after the other, each with its registers first; padding
    comes last. Tokens that the keys cannot tell apart keep their sequence.

    Args:
      coordinates: [B, N], non-negative; below 1024 on a space-filling curve.
    """
    real = coordinates.valid()
    segment = jnp.where(real, coordinates.segment, jnp.iinfo(jnp.int32).max)
    keys = self.keys(coordinates.t, coordinates.y, coordinates.x)
    keys = [jnp.where(coordinates.register > 0, 0, key) for key in keys]
    place = jnp.broadcast_to(jnp.arange(real.shape[-1]), real.shape)
    arrays = (segment, -coordinates.register, *keys, place)
    arrays = [array.astype(jnp.int32) for array in arrays]
    return jax.lax.sort(arrays, num_keys=len(arrays) - 1, is_stable=True)[-1]


@dataclasses.dataclass(frozen=True)
class Raster(Order):
  """Frame by frame, row by row: how a clip is cut into patches."""

  def keys(self, t, y, x):
    """See Order."""
    return t, y, x


@dataclasses.dataclass(frozen=True)
class TimeMajor(Order):
  """Place by place, all frames of a place together."""

  def keys(self, t, y, x):
    """See Order."""
    return y, x, t


@dataclasses.dataclass(frozen=True)
class Tile(Order):
  """Space-time tiles in raster order, and raster order inside a tile.

  Sliding Tile Attention, arXiv:2502.04507, stores tokens so.

  Attributes:
    t: frames of a tile.
    y: rows.
    x: columns.
  """

  t: int = 4
  y: int = 4
  x: int = 8

  def __post_init__(self):
    _check_positive(self)

  def keys(self, t, y, x):
    """See Order."""
    return t // self.t, y // self.y, x // self.x, t, y, x


@dataclasses.dataclass(frozen=True)
class Phase(Order):
  """All tokens of one phase of a grid, then those of the next.

  The phase is the remainder of the coordinates by the strides. It turns the
  Grid pattern into blocks on the diagonal, as the permutation of MMInference
  does (arXiv:2504.16083).

  Attributes:
    t: stride in frames.
    y: in rows.
    x: in columns.
  """

  t: int = 1
  y: int = 4
  x: int = 4

  def __post_init__(self):
    _check_positive(self)

  def keys(self, t, y, x):
    """See Order."""
    return t % self.t, y % self.y, x % self.x, t, y, x


class _Curve(Order):
  """Marks orders that take coordinates of CURVE_BITS bits only."""


@dataclasses.dataclass(frozen=True)
class Morton(_Curve):
  """The Z curve: the bits of t, y and x interleaved (G. M. Morton, 1966)."""

  def keys(self, t, y, x):
    """See Order."""
    return (_interleave([t, y, x]),)


@dataclasses.dataclass(frozen=True)
class Hilbert(_Curve):
  """The Hilbert curve, on which neighbours in sequence are neighbours in space.

  By the transform of J. Skilling, "Programming the Hilbert curve", AIP
  Conference Proceedings 707 (2004): from the highest bit down, an axis whose
  bit is set inverts the lower bits of the first axis, and one whose bit is not
  set exchanges its own with them; a Gray code follows. On a grid whose sides
  are no equal powers of two the curve leaves the grid and comes back, which
  makes jumps.
  """

  def keys(self, t, y, x):
    """See Order."""
    axes = [t, y, x]
    for bit in range(CURVE_BITS - 1, 0, -1):
      lower = (1 << bit) - 1
      for i in range(3):
        flip = -((axes[i] >> bit) & 1)  # all ones where the bit is set
        exchange = (axes[0] ^ axes[i]) & lower & ~flip
        axes[0] = axes[0] ^ exchange ^ (lower & flip)
        if i:
          axes[i] = axes[i] ^ exchange
    axes[1] = axes[1] ^ axes[0]
    axes[2] = axes[2] ^ axes[1]
    correction = axes[0] & 0
    for bit in range(CURVE_BITS - 1, 0, -1):
      odd = -((axes[2] >> bit) & 1)
      correction = correction ^ (odd & ((1 << bit) - 1))
    return (_interleave([axis ^ correction for axis in axes]),)


ORDERS = Table(
  "token order",
  {
    "raster": Raster,
    "time_major": TimeMajor,
    "tile": Tile,
    "phase": Phase,
    "morton": Morton,
    "hilbert": Hilbert,
  },
)


def grid_coordinates(grid: tuple[int, int, int]) -> list[np.ndarray]:
  """Returns t, y and x of the tokens of a grid in raster order, [N] int32.

  Raises:
    ValueError: `grid` is not three positive numbers.
  """
  if len(grid) != 3 or min(grid) < 1:
    raise ValueError(f"a grid is (T, h, w), all positive, got {grid}")
  axes = np.indices(grid, dtype=np.int32)
  return list(axes.reshape(3, -1))


def _interleave(axes):
  """One integer of the bits of three, the highest bit of the first on top."""
  code = axes[0] & 0
  for bit in range(CURVE_BITS - 1, -1, -1):
    for axis in axes:
      code = (code << 1) | ((axis >> bit) & 1)
  return code


def _check_positive(order: Order):
  sizes = dataclasses.astuple(order)
  if min(sizes) < 1:
    raise ValueError(
      f"{type(order).__name__} needs positive t, y and x, got {sizes}"
    )
