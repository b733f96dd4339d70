"""What an encoder is told about packing, and what it tells."""

from collections.abc import Mapping, Sequence

import jax

from trajvit.ops.packing import Placement
from trajvit.types import PackedGroup

Packing = Mapping[str, int] | Sequence[Mapping[str, int] | None] | None


def groups(packing: Packing, stages: int) -> tuple[PackedGroup | None, ...]:
  """Returns the groups of each stage.

  Args:
    packing: `{"clips", "rows", "length"}` for all stages, a list with one or
      None for each, or None.
    stages: how many there are.

  Raises:
    ValueError: a list of another length, or other keys.
  """
  if packing is None or isinstance(packing, Mapping):
    packing = [packing] * stages
  if len(packing) != stages:
    raise ValueError(
      f"packing needs one entry (or None) for each of the {stages} stages, "
      f"got {len(packing)}"
    )
  for sizes in packing:
    if sizes is not None and set(sizes) != {"clips", "rows", "length"}:
      raise ValueError(f"packing needs clips, rows and length, got {sizes}")
  return tuple(sizes and PackedGroup(**sizes) for sizes in packing)


def metrics(placements: Sequence[Placement]) -> dict[str, jax.Array]:
  """Returns how full the rows of all stages are, and what overflowed."""
  slots = sum(p.source.size for p in placements)
  filled = sum((p.source >= 0).sum() for p in placements)
  return {
    "packing/fill_%": 100 * filled / slots,
    "packing/overflow_tokens": sum(p.overflow for p in placements),
  }
