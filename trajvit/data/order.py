"""Which clip stands where in training: a pure function of (seed, position).

A *position* counts training examples from the start of the run: row r of the
global batch of step s is position `s * batch_size + r`. Nothing here depends
on how many processes or threads read, or on where reading starts, so there is
no state to save, and a run resumes on another number of hosts unchanged.
"""

import grain
import numpy as np


class TrainOrder:
  """An endless sequence of clips, shuffled anew in every epoch."""

  def __init__(self, num_clips: int, *, seed: int):
    """`num_clips` at least 1, `seed` in [0, 2**32)."""
    if num_clips < 1:
      raise ValueError(f"there must be clips to train on, got {num_clips}")
    if not 0 <= seed < 2**32:
      raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    self.num_clips, self.seed = num_clips, seed
    self._indices = grain.MapDataset.range(num_clips).seed(seed)
    self._indices = self._indices.shuffle().repeat()

  def draw(
    self, position: int, attempt: int = 0
  ) -> tuple[int, np.random.Generator]:
    """Returns the clip of a position, and the generator for its augmentation.

    Attempt 0 follows the shuffled epochs. A later attempt replaces a clip that
    could not be read by one drawn uniformly, which may be any, itself included.

    Args:
      position: 0, 1, ...
      attempt: how many clips were already tried for this position.

    Returns:
      The index in [0, num_clips) and a generator that no other (seed,
      position, attempt) shares.
    """
    if not attempt:
      rng = np.random.default_rng((self.seed, position))
      return int(self._indices[position]), rng
    rng = np.random.default_rng((self.seed, position, attempt))
    return int(rng.integers(self.num_clips)), rng


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
