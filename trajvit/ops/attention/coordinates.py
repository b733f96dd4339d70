"""Where tokens are: the integers that attention patterns decide from."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coordinates:
  """Integer coordinates of tokens; all arrays int32 of one shape.

  That shape is [B, N], or [1, N] where all clips are alike; inside a kernel a
  row or a column of it.

  Attributes:
    segment: the clip that a token belongs to, from 0; -1 is padding. A token
      sees tokens of its own segment only, whatever the pattern.
    t: frame, or index of the tubelet in time.
    y: row.
    x: column.
    register: 1 for class and register tokens, else 0.
    index: place in the sequence the pattern is defined on (raster order of the
      clip, say), whatever order the tokens are stored in.
  """

  segment: jax.Array
  t: jax.Array
  y: jax.Array
  x: jax.Array
  register: jax.Array
  index: jax.Array

  def pad(self, length: int) -> "Coordinates":
    """Returns the coordinates of `length` tokens, the new ones padding."""
    missing = length - self.segment.shape[-1]

    def grow(array, fill):
      widths = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
      return jnp.pad(array, widths, constant_values=fill)

    padded = jax.tree.map(lambda array: grow(array, 0), self)
    return dataclasses.replace(padded, segment=grow(self.segment, -1))

  def valid(self) -> jax.Array:
    """Returns where a token is real, bool."""
    return self.segment >= 0


def sequence(
  length: int, mask: jax.Array | None = None, segments: jax.Array | None = None
) -> Coordinates:
  """Returns coordinates of tokens that only have a place in a sequence.

  Args:
    length: N.
    mask: [B, N] bool, True = real; None means all are.
    segments: [B, N] int32, the clip of a token in a packed row; None means a
      row is one clip.
  """
  if segments is None:
    shape = (1, length) if mask is None else mask.shape
    segments = jnp.zeros(shape, jnp.int32)
  if mask is not None:
    segments = jnp.where(mask, segments, -1)
  zeros = jnp.zeros_like(segments)
  index = zeros + jnp.arange(length, dtype=jnp.int32)
  return Coordinates(segments, zeros, zeros, zeros, zeros, index)
