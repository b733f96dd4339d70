"""Patches beside registers that are in an order, the first the most general."""

import dataclasses

from trajvit.ops.attention.pattern import Pattern, both, either
from trajvit.ops.attention.patterns.arithmetic import (
  classify,
  difference,
  inside,
)

READS = ("all", "none")
REGISTER_READS = ("all", "causal", "none")


@dataclasses.dataclass(frozen=True)
class NestedRegisters(Pattern):
  """Registers read the patches and the registers up to themselves.

  Patches read patches alone, so that the first registers come out the same
  however many there are behind them (FlexTok, arXiv:2502.13967; Semanticist,
  arXiv:2503.08685). A coordinate `t` tells apart the steps of a clip, each of
  which has patches and registers of its own: a step reads earlier ones as the
  attributes say, and later ones never (VideoFlexTok). `index` orders the
  registers of a step.

  The first registers of every step are the same however many there are only if
  patches read none of earlier steps and registers read no more than "causal".

  Attributes:
    patch_reads_patches: of earlier steps, "all" or "none".
    patch_reads_registers: likewise.
    register_reads_patches: likewise.
    register_reads_registers: of earlier steps, "all", "none", or those with the
      same index or a lower one, "causal".
  """

  patch_reads_patches: str = "all"
  patch_reads_registers: str = "none"
  register_reads_patches: str = "all"
  register_reads_registers: str = "causal"

  def __post_init__(self):
    for name, value in vars(self).items():
      known = READS
      if name == "register_reads_registers":
        known = REGISTER_READS
      if value not in known:
        raise ValueError(
          f"NestedRegisters.{name} must be one of {', '.join(known)}, "
          f"got {value!r}"
        )

  def _earlier(self):
    """What is read of earlier steps, by kind of the pair (see `_kind`)."""
    return (
      self.patch_reads_patches,
      self.patch_reads_registers,
      self.register_reads_patches,
      self.register_reads_registers,
    )

  def allowed(self, query, key):
    """See Pattern."""
    kind, up_to = _kind(query, key), key.index <= query.index
    gap = query.t - key.t
    found = (gap == 0) & ((kind & 1 == 0) | ((kind == 3) & up_to))
    for number, reads in enumerate(self._earlier()):
      if reads == "none":
        continue
      pair = (gap > 0) & (kind == number)
      found |= pair & up_to if reads == "causal" else pair
    return found

  def classes(self, query, key):
    """See Pattern."""
    kind = _kind(query.low, key.low), _kind(query.high, key.high)
    up_to = inside(difference(query, key, "index"), 0, None)
    gap = difference(query, key, "t")
    kinds = [inside(kind, number, number) for number in range(4)]
    patch_key = classify(key.low.register == 1, key.high.register == 0)
    own = either(patch_key, both(kinds[3], up_to))
    found = both(inside(gap, 0, 0), own)
    for number, reads in enumerate(self._earlier()):
      if reads == "none":
        continue
      pair = both(inside(gap, 1, None), kinds[number])
      found = either(found, both(pair, up_to) if reads == "causal" else pair)
    return found


def _kind(query, key):
  """0: a patch reads a patch, 1: a register; 2, 3: a register reads them."""
  return 2 * query.register + key.register
