"""Which clip stands where in training: a pure function of (seed, position).

A *position* counts training examples from the start of the run: row r of the
global batch of step s is position `s * batch_size + r`. Nothing here depends
on how many processes or threads read, or on where reading starts, so there is
no state to save, and a run resumes on another number of hosts unchanged.
"""

import bisect
import itertools
from collections.abc import Sequence

import grain
import numpy as np


class TrainOrder:
  """An endless sequence of clips, every part shuffled anew in its epochs."""

  def __init__(
    self,
    num_clips: int | Sequence[int],
    *,
    seed: int,
    weights: Sequence[float] | None = None,
  ):
    """Shuffles nothing yet.

    Args:
      num_clips: clips of the source, at least 1; or of each part of a mixture,
        whose clips are numbered one part after the other.
      seed: in [0, 2**32).
      weights: the shares of the parts, above 0, whatever their sum. Every
        stretch of the sequence holds them as nearly as whole clips allow, and
        each part has epochs of its own.

    Raises:
      ValueError: an argument is out of range.
    """
    sizes = [num_clips] if isinstance(num_clips, int) else list(num_clips)
    weights = [1.0] * len(sizes) if weights is None else list(weights)
    if not sizes or min(sizes) < 1:
      raise ValueError(f"there must be clips to train on, got {num_clips}")
    if len(weights) != len(sizes) or not min(weights) > 0:
      raise ValueError(
        f"each of the {len(sizes)} parts needs a weight above 0, got {weights}"
      )
    if not 0 <= seed < 2**32:
      raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    self.num_clips, self.seed = sum(sizes), seed
    self._ends = list(itertools.accumulate(sizes))
    parts = [
      grain.MapDataset.range(end - size, end)
      .seed((seed + part) % 2**32)
      .shuffle()
      .repeat()
      for part, (size, end) in enumerate(zip(sizes, self._ends, strict=True))
    ]
    self._indices = (
      parts[0]
      if len(parts) == 1
      else grain.MapDataset.mix(parts, list(weights))
    )

  def draw(
    self, position: int, attempt: int = 0
  ) -> tuple[int, np.random.Generator]:
    """Returns the clip of a position, and the generator for its augmentation.

    Attempt 0 follows the shuffled epochs. A later attempt replaces a clip that
    could not be read by one of the same part drawn uniformly, which may be any,
    itself included.

    Args:
      position: 0, 1, ...
      attempt: how many clips were already tried for this position.

    Returns:
      The index in [0, num_clips) and a generator that no other (seed,
      position, attempt) shares.
    """
    index = int(self._indices[position])
    if not attempt:
      return index, np.random.default_rng((self.seed, position))
    rng = np.random.default_rng((self.seed, position, attempt))
    part = bisect.bisect_right(self._ends, index)
    first = self._ends[part - 1] if part else 0
    return int(rng.integers(first, self._ends[part])), rng


def row_position(
  row: int, *, batch_size: int, process_index: int, process_count: int
) -> int:
  """Returns the position of the `row`-th example that a process reads.

  Every process reads the same contiguous slice of every global batch,
  `batch_size // process_count` rows of it.
  """
  per_process = batch_size // process_count
  step, row = divmod(row, per_process)
  return step * batch_size + process_index * per_process + row
