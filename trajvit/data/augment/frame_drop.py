"""Loses frames: the one before stands in for each."""

import dataclasses

import numpy as np

from trajvit.data.augment.footage import Footage
from trajvit.data.augment.ranges import check_number


@dataclasses.dataclass(frozen=True)
class FrameDrop:
  """Drops random frames, in place of which the one before is repeated.

  A clip keeps its number of frames, all of them real: what a model gets is a
  video that stalls. The time and the tracks of a repeated frame are repeated
  too, so that they stay true of what is seen. The first frame is never lost.

  Attributes:
    p: how likely each other frame is to be lost.
  """

  p: float = 0.1

  def __post_init__(self):
    check_number("frame_drop.p", self.p, 0, 1)

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """See Step; frames, times and tracks change."""
    count = len(footage.frames)
    kept = np.where(rng.random(count) < self.p, 0, np.arange(count))
    shown = np.maximum.accumulate(kept)  # [T], the last one kept up to here
    tracks = footage.tracks
    return dataclasses.replace(
      footage,
      frames=footage.frames[shown],
      times=footage.times[shown],
      tracks=None if tracks is None else tracks[shown],
    )
