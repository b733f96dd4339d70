"""How many tokens each block of an encoder removes: plain Python integers.

Counts are static shapes, so that they are known before anything is compiled.
Ratios are read as the decimal numbers they are written as: 0.29 of 100 is 29.
"""

from collections.abc import Sequence
from fractions import Fraction

KINDS = ("linear", "geometric")


def removed_linearly(
  r: int, depth: int, *, inflection: float = 0.0, truncate: bool = False
) -> tuple[int, ...]:
  """Returns the tokens that each block removes, r in the mean.

  From r (1 - inflection) in the first block the counts go in a line to
  r (1 + inflection) in the last: 0 is constant, -1 falls to nothing, 1 rises
  from nothing. Source: ToMe, arXiv:2210.09461.

  Args:
    r: mean over the blocks.
    depth: blocks.
    inflection: in [-1, 1].
    truncate: round every count down, as ToMe's code does, which then removes
      fewer than r * depth tokens; otherwise the counts sum to that.

  Raises:
    ValueError: an argument is out of range.
  """
  if r < 0 or depth < 1 or not -1 <= inflection <= 1:
    raise ValueError(
      f"r must be at least 0, depth at least 1 and inflection in [-1, 1], "
      f"got {r}, {depth} and {inflection}"
    )
  if depth == 1:
    return (r,)
  first = r * (1 - _exact(inflection))
  first = Fraction(int(first)) if truncate else first
  step = 2 * (r - first) / (depth - 1)
  values = [first + step * block for block in range(depth)]
  counts = [int(value) for value in values]
  if not truncate:
    # One more for those that rounding down took most from, the first in a tie.
    lost = sorted(range(depth), key=lambda block: counts[block] - values[block])
    for block in lost[: r * depth - sum(counts)]:
      counts[block] += 1
  return tuple(counts)


def removed_by_ratio(count: int, ratios: Sequence[float]) -> tuple[int, ...]:
  """Returns the tokens that each block removes: floor(ratio * its tokens).

  Args:
    count: tokens that enter the first block.
    ratios: of each block, in [0, 1].

  Raises:
    ValueError: a ratio is out of range.
  """
  if not all(0 <= ratio <= 1 for ratio in ratios):
    raise ValueError(f"ratios must be in [0, 1], got {tuple(ratios)}")
  removed = []
  for ratio in ratios:
    removed.append(int(_exact(ratio) * count))
    count -= removed[-1]
  return tuple(removed)


def at_most_half(
  removed: Sequence[int], count: int, *, protected: int = 0
) -> tuple[int, ...]:
  """Returns what of a schedule bipartite matching can do, block by block.

  One matching removes at most half of the tokens that are not protected.

  Args:
    removed: tokens that each block is to remove.
    count: tokens that enter the first block, protected ones among them.
    protected: tokens that are never removed.
  """
  possible = []
  for wanted in removed:
    possible.append(min(wanted, (count - protected) // 2))
    count -= possible[-1]
  return tuple(possible)


def by_stage(removed: Sequence[int], stages: Sequence[int]) -> tuple[int, ...]:
  """Returns the sum over the blocks of each stage.

  For encoders that change the number of tokens between stages only.

  Args:
    removed: tokens that each block removes.
    stages: blocks of each stage.

  Raises:
    ValueError: the stages have another number of blocks.
  """
  if sum(stages) != len(removed):
    raise ValueError(
      f"stages must sum to the {len(removed)} blocks, got {tuple(stages)}"
    )
  ends = [sum(stages[: i + 1]) for i in range(len(stages))]
  return tuple(
    sum(removed[end - blocks : end])
    for end, blocks in zip(ends, stages, strict=True)
  )


def kept_counts(
  count: int, last: int, steps: int, *, kind: str = "linear"
) -> tuple[int, ...]:
  """Returns the tokens that are left after each of several reductions.

  Args:
    count: tokens before the first.
    last: tokens after the last, in [1, count].
    steps: number of reductions.
    kind: "linear" removes equally many in each, "geometric" an equal share.

  Raises:
    ValueError: an argument is out of range, or the kind is unknown.
  """
  if not 1 <= last <= count or steps < 1:
    raise ValueError(
      f"last must be in [1, {count}] and steps at least 1, "
      f"got {last} and {steps}"
    )
  if kind not in KINDS:
    raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
  kept = []
  for step in range(1, steps + 1):
    done = Fraction(step, steps)
    if kind == "linear":
      left = count + (last - count) * done
    else:
      left = Fraction(count * (last / count) ** float(done))
    kept.append(int(left + Fraction(1, 2)))
  return tuple(kept)


def _exact(ratio):
  return Fraction(str(ratio))
