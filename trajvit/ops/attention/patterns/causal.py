"""Patterns that look back in time only, for streams of frames."""

import dataclasses

from trajvit.ops.attention.pattern import Bounds, Pattern
from trajvit.ops.attention.patterns.arithmetic import (
  check_least,
  difference,
  inside,
  quotient,
)


@dataclasses.dataclass(frozen=True)
class FrameCausal(Pattern):
  """All tokens of the own frame and of the ones before.

  Attributes:
    window: how many frames back; None is all.
  """

  window: int | None = None

  def __post_init__(self):
    check_least(self, 0, window=self.window)

  def allowed(self, query, key):
    """See Pattern."""
    gap = query.t - key.t
    back = gap >= 0
    return back if self.window is None else back & (gap <= self.window)

  def classes(self, query, key):
    """See Pattern."""
    return inside(difference(query, key, "t"), 0, self.window)


@dataclasses.dataclass(frozen=True)
class BlockCausal(Pattern):
  """Runs of frames: all of the own run and of the ones before.

  The mask of causal video diffusion with chunks of frames, such as CausVid,
  arXiv:2412.07772.

  Attributes:
    frames: of a run, up to 256; frame numbers are below 4096.
    window: how many runs back; None is all.
  """

  frames: int
  window: int | None = None

  def __post_init__(self):
    check_least(self, 1, frames=self.frames)
    check_least(self, 0, window=self.window)
    if self.frames > 256:
      raise ValueError(f"BlockCausal takes up to 256 frames, got {self.frames}")

  def allowed(self, query, key):
    """See Pattern."""
    runs = FrameCausal(self.window)
    return runs.allowed(self._runs(query), self._runs(key))

  def classes(self, query, key):
    """See Pattern."""
    query, key = (
      Bounds(self._runs(x.low), self._runs(x.high)) for x in (query, key)
    )
    return FrameCausal(self.window).classes(query, key)

  def _runs(self, coordinates):
    runs = quotient(coordinates.t, self.frames)
    return dataclasses.replace(coordinates, t=runs)
