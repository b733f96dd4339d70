"""From what a method made of the patches of a grid back to a set of tokens."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.ops.selection import select_marked
from trajvit.ops.token_grid import TokenGrid, off_grid
from trajvit.types import Tokens


def patch_budget(k: int, patches: TokenGrid) -> int:
  """Returns the slots that are left for patches.

  Raises:
    ValueError: k leaves none, or more than there are patches.
  """
  _, frames, count, _ = patches.features.shape
  most = patches.prefix + frames * count
  if not patches.prefix < k <= most:
    raise ValueError(
      f"k must be in [{patches.prefix + 1}, {most}], that is leave a slot "
      f"beside {patches.prefix} that are no patches, got {k}"
    )
  return k - patches.prefix


def patch_sizes(tokens: Tokens, patches: TokenGrid) -> jax.Array:
  """Returns [B, T, n] float32, the sizes of patches, 0 where masked."""
  size = tokens.size[:, patches.prefix :].reshape(patches.mask.shape)
  return jnp.where(patches.mask, size, 0)


def survivors(
  tokens: Tokens,
  patches: TokenGrid,
  k: int,
  *,
  features: jax.Array,
  size: jax.Array,
  kept: jax.Array,
  keys: Sequence[jax.Array] = (),
) -> tuple[Tokens, dict]:
  """Returns the patches that stay, with what merged into them, and the prefix.

  Args:
    tokens: what the method was given.
    patches: the same, on the grid.
    k: slots afterwards, those of the prefix among them.
    features: [B, T, n, D], read where a patch is kept; float32, or the dtype of
      the tokens, which they get back.
    size: [B, T, n] float32, likewise.
    kept: [B, T, n] bool.
    keys: [B, T, n], which patches stay where they are too many, see
      `selection.highest`; none leaves the first.

  Returns:
    k tokens at their old positions, in raster order behind the prefix, and aux:
    `indices` [B, k] int32, the slots they were in, and `overflow` [B] int32.
  """
  prefix = patches.prefix
  batch, _, _, width = features.shape
  flat = features.reshape(batch, -1, width).astype(tokens.features.dtype)
  new = dataclasses.replace(
    tokens,
    features=jnp.concatenate([tokens.features[:, :prefix], flat], axis=1),
    size=jnp.concatenate(
      [tokens.size[:, :prefix], size.reshape(batch, -1)], axis=1
    ),
  )
  marked = off_grid(kept & patches.mask, prefix, fill=True)
  # What is no patch comes before all patches, protected or not.
  first = jnp.broadcast_to(jnp.arange(marked.shape[1]) < prefix, marked.shape)
  keys = (first, *(off_grid(key, prefix) for key in keys))
  left, indices, overflow = select_marked(new, marked, k, keys)
  return left, {"indices": indices, "overflow": overflow}
