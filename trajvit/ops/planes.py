"""Reading planes of features between their cells."""

import jax
import jax.numpy as jnp


def bilinear(plane: jax.Array, at: jax.Array) -> jax.Array:
  """Returns the features of a plane at points, mixed from the nearest 4 cells.

  Cell (i, j) of a plane with a rows and b columns has its centre at
  ((i + 0.5) / a, (j + 0.5) / b); beyond the outermost centres the border goes
  on.

  Args:
    plane: [B, a, b, D].
    at: [B, P, 2] in [0, 1], (row, column).

  Returns:
    [B, P, D] in the dtype of `plane`.
  """
  batch, rows, columns, width = plane.shape
  cells = plane.reshape(batch, rows * columns, width)
  ends = [_ends(at[..., i], n) for i, n in enumerate((rows, columns))]

  def cell(row, column):
    indices = (row * columns + column)[..., None]
    return jnp.take_along_axis(cells, indices, axis=1)  # [B, P, D]

  (top, bottom, down), (left, right, over) = ends
  down, over = (x[..., None].astype(plane.dtype) for x in (down, over))
  upper = (1 - over) * cell(top, left) + over * cell(top, right)
  lower = (1 - over) * cell(bottom, left) + over * cell(bottom, right)
  return (1 - down) * upper + down * lower


def _ends(at, count):
  """The two cells that a coordinate lies between, and how near the second."""
  place = jnp.clip(at * count - 0.5, 0, count - 1)
  first = jnp.floor(place).astype(jnp.int32)
  return first, jnp.minimum(first + 1, count - 1), place - first
