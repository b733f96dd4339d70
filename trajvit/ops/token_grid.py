"""Tokens as the patches of a grid, for what looks at neighbours in a clip."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


@dataclasses.dataclass(frozen=True)
class TokenGrid:
  """Tokens in raster order, t slowest, behind P tokens that are no patches.

  Attributes:
    features: [B, T, n, D], with n = h w; zeros in masked slots.
    mask: [B, T, n] bool.
    prefix: P.
  """

  features: jax.Array
  mask: jax.Array
  prefix: int


def on_grid(tokens: Tokens, grid: tuple[int, int, int]) -> TokenGrid:
  """Returns the patches of tokens that nothing has reduced yet.

  Args:
    tokens: P + T h w slots a clip; the last are the patches, some may be
      masked, such as those of padding frames.
    grid: (T, h, w).

  Raises:
    ValueError: there are fewer slots.
  """
  frames, height, columns = grid
  patches = math.prod(grid)
  batch, count, width = tokens.features.shape
  if count < patches:
    raise ValueError(
      f"a grid of {frames} x {height} x {columns} has {patches} patches, got "
      f"{count} tokens: this reads patches in front of any other reducer"
    )
  tokens = zero_masked(tokens)
  prefix = count - patches
  shape = (batch, frames, height * columns)
  return TokenGrid(
    features=tokens.features[:, prefix:].reshape(*shape, width),
    mask=tokens.mask[:, prefix:].reshape(shape),
    prefix=prefix,
  )


def off_grid(values: jax.Array, prefix: int, fill=0) -> jax.Array:
  """Returns [B, P + T n], one value a token again.

  Args:
    values: [B, T, n], one a patch.
    prefix: P.
    fill: the value of the prefix.
  """
  flat = values.reshape(values.shape[0], -1)
  return jnp.pad(flat, ((0, 0), (prefix, 0)), constant_values=fill)


def grid_positions(grid: tuple[int, int, int]) -> np.ndarray | jax.Array:
  """Returns [T h w, 3] float32, the (t, y, x) of the patches in [0, 1].

  It is a constant, but in an export that does not know one of the sizes.
  """
  xp = _arrays_of(grid)
  axes = [(xp.arange(n) + 0.5) / n for n in grid]
  return _in_raster_order(xp, axes).astype(xp.float32)


def grid_indices(grid: tuple[int, int, int]) -> np.ndarray | jax.Array:
  """Returns [T h w, 3] int, the (t, y, x) of the patches, counted from 0.

  It is a constant where `grid_positions` is one.
  """
  xp = _arrays_of(grid)
  return _in_raster_order(xp, [xp.arange(n) for n in grid])


def _arrays_of(grid):
  """NumPy for a grid of known sizes, else jax.numpy."""
  return np if all(isinstance(n, int) for n in grid) else jnp


def _in_raster_order(xp, axes):
  """[T h w, 3], all triples of the values on three axes."""
  return xp.stack(xp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def with_patches(tokens: Tokens, prefix: int, patches: Tokens) -> Tokens:
  """Returns the prefix of some tokens, and others behind it.

  Args:
    tokens: P slots a clip that are no patches, and any others.
    prefix: P.
    patches: K slots a clip, not protected.

  Returns:
    P + K tokens, in the dtype of the first, zeros in masked slots; `protected`
    is None where the first have none.
  """
  front = jax.tree.map(lambda x: x[:, :prefix], tokens)
  protected = front.protected
  if protected is not None:
    protected = jnp.pad(protected, ((0, 0), (0, patches.mask.shape[1])))

  def join(name):
    first, rest = getattr(front, name), getattr(patches, name)
    return jnp.concatenate([first, rest.astype(first.dtype)], axis=1)

  joined = {x: join(x) for x in ("features", "mask", "positions", "size")}
  return zero_masked(Tokens(**joined, protected=protected))
