"""A ladder of buckets: the few sizes that clips are padded to.

Where clips are not packed, one program is compiled for each size, and a clip
goes into the smallest one that holds it.
"""

import numpy as np


def suggest_ladder(
  counts: np.ndarray, *, most: int = 4, multiple: int = 8, spare: float = 0.05
) -> tuple[int, ...]:
  """Returns the sizes that pad clips of such counts little, ascending.

  For each number of sizes the best ones are found, by dynamic programming over
  the histogram of the counts; the fewest win whose slots are at most `spare`
  more than those of `most` sizes. The last holds every clip.

  Args:
    counts: [n] integers from 0 up, tokens of clips, registers included.
    most: sizes at most.
    multiple: what all sizes are multiples of.
    spare: the share of slots given for fewer programs.

  Raises:
    ValueError: no counts, a negative one, or an argument below 1 (`spare`: 0).
  """
  counts = np.asarray(counts)
  if not counts.size or counts.min() < 0:
    raise ValueError("counts must be one or more from 0 up")
  for name, value in (("most", most), ("multiple", multiple)):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  if spare < 0:
    raise ValueError(f"spare must be 0 or more, got {spare}")
  steps = np.maximum(-(-counts // multiple), 1)
  sizes, clips = np.unique(steps * multiple, return_counts=True)  # [m]
  below = np.cumsum(clips)
  # slots[k][j]: the fewest that k + 1 sizes, the last sizes[j], take for the
  # clips that fit into it; before[k][j]: which size is the one before.
  slots, before = [sizes * below], []
  for _ in range(1, min(most, len(sizes))):
    added = sizes[:, None] * (below[:, None] - below)  # [j, i]
    total = slots[-1] + added
    total = np.where(np.tri(len(sizes), k=-1, dtype=bool), total, 2**62)
    before.append(total.argmin(1))
    slots.append(total.min(1))
  allowed = (1 + spare) * slots[-1][-1]
  chosen = next(k for k, row in enumerate(slots) if row[-1] <= allowed)
  ladder = [len(sizes) - 1]
  for row in reversed(before[:chosen]):
    ladder.append(row[ladder[-1]])
  return tuple(int(sizes[i]) for i in reversed(ladder))


def ladder_fill(counts: np.ndarray, ladder: tuple[int, ...]) -> float:
  """Returns the share of slots that hold a token.

  Args:
    counts: [n] integers from 0 up, none above the last size.
    ladder: sizes, ascending.

  Raises:
    ValueError: a count that no size holds.
  """
  counts = np.asarray(counts)
  if counts.max(initial=0) > ladder[-1]:
    raise ValueError(
      f"the largest size must hold {counts.max()} tokens, got {ladder[-1]}"
    )
  sizes = np.asarray(ladder)[np.searchsorted(ladder, counts)]
  return float(counts.sum() / sizes.sum())
