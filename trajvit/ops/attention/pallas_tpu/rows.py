"""The list of one block as a row of numbers that a kernel reads from SMEM.

A row is [full, count, index...]: `walk` runs over the full tiles first, then
over the partial ones, so that neither loop asks of a tile which it is, and a
short row costs nothing for the width of the longest.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from trajvit.ops.attention.block_mask import TileLists

LANES = 128
_HEADER = 2


def pack(lists: TileLists) -> jax.Array:
  """Returns [Bm, Hm, n, 1, W] int32, W a multiple of 128 words."""
  header = jnp.stack([lists.full, lists.count], axis=-1)
  row = jnp.concatenate([header, lists.index], axis=-1).astype(jnp.int32)
  widths = [(0, 0)] * 3 + [(0, -row.shape[-1] % LANES)]
  return jnp.pad(row, widths)[:, :, :, None]


def count(row) -> jax.Array:
  """Returns the number of tiles in the row of a reference [1, W]."""
  return row[0, 1]


def block(row, position) -> jax.Array:
  """Returns the number of the block at a position of a row."""
  return row[0, _HEADER + position]


def walk(row, group: int, step: Callable) -> None:
  """Calls `step(position, width, masked)` until the row is done.

  Args:
    row: reference [1, W] in SMEM.
    group: how many tiles a step takes (`width`); the last ones of the full and
      of the partial tiles, fewer than a group, come one by one.
    step: `masked` says that the tiles are partial.
  """

  def part(begin, end, masked):
    groups = jax.lax.div(end - begin, jnp.int32(group))

    def several(n, carry):
      step(begin + n * group, group, masked)
      return carry

    def single(position, carry):
      step(position, 1, masked)
      return carry

    jax.lax.fori_loop(0, groups, several, None)
    if group > 1:
      jax.lax.fori_loop(begin + groups * group, end, single, None)

  full = row[0, 0]
  part(jnp.int32(0), full, False)
  part(full, count(row), True)
