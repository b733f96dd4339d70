"""How many clips are how long and how large: counts, and bars of text."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from trajvit.data.check.clip import ClipCheck

_BINS = 12
_BAR = 40  # characters of the longest bar


@dataclasses.dataclass(frozen=True)
class Histogram:
  """Clips by one of their properties.

  Attributes:
    name: of the property.
    unit: in which it is counted, "" for none.
    values: [n], one of each clip, ascending.
    edges: [b + 1] ascending: bin i is [edges[i], edges[i + 1]).
    clips: [b], clips in each bin; they add up to n.
  """

  name: str
  unit: str
  values: np.ndarray
  edges: np.ndarray
  clips: np.ndarray

  @property
  def title(self) -> str:
    """Name and unit."""
    return f"{self.name} ({self.unit})" if self.unit else self.name


def histogram(name: str, unit: str, values: Sequence[float]) -> Histogram:
  """Counts values into bins of a round width, at most about a dozen.

  The last bin is as wide as it takes: one clip in a hundred may be in it alone.

  Args:
    name: of the property.
    unit: in which it is counted.
    values: at least one, finite.
  """
  values = np.sort(np.asarray(values, float))
  low, most = values[0], values[-1]
  usual = values[math.ceil(0.99 * len(values)) - 1]
  whole = not (values % 1).any()
  width = _round_up((usual - low) / (_BINS - 2), whole)
  first = math.floor(low / width)
  last = max(math.floor(usual / width), first)
  edges = width * np.arange(first, last + 2)
  if most >= edges[-1]:
    edges = np.append(edges, np.nextafter(most, np.inf))
  clips, _ = np.histogram(values, edges)
  return Histogram(name, unit, values, edges, clips)


def histograms(checks: Sequence[ClipCheck]) -> list[Histogram]:
  """Returns the histograms of the clips that can be read.

  Each is over the clips of which the property is known: an image has no
  duration, and a clip without tracks no number of them.
  """
  good = [check for check in checks if check.reason is None]
  properties = (
    ("duration", "s", [c.seconds for c in good if c.seconds is not None]),
    ("frame rate", "frames/s", [c.fps for c in good if c.fps is not None]),
    ("frames", "", [c.frames for c in good if c.fps is not None]),
    ("short side", "px", [min(c.height, c.width) for c in good if c.height]),
    ("tracks", "", [c.tracks for c in good if c.tracks is not None]),
  )
  return [histogram(*x) for x in properties if x[2]]


def bars(found: Histogram) -> str:
  """Returns a histogram as text, a line a bin."""
  values = found.values
  lines = [
    f"{found.title}: {len(values)} clips, median {np.median(values):.4g}, "
    f"{values[0]:.4g} to {values[-1]:.4g}"
  ]
  ends = [f"{edge:.6g}" for edge in found.edges]
  width = max(map(len, ends))
  for low, high, clips in zip(ends[:-1], ends[1:], found.clips, strict=True):
    bar = "#" * math.ceil(_BAR * clips / found.clips.max())
    lines.append(f"  {low:>{width}} .. {high:>{width}}  {bar} {clips}")
  return "\n".join(lines)


def table(found: Sequence[Histogram]) -> str:
  """Returns histograms as CSV: property, unit, from, to, clips."""
  rows = ["property,unit,from,to,clips"]
  rows += [
    f"{h.name},{h.unit},{low:.12g},{high:.12g},{clips}"
    for h in found
    for low, high, clips in zip(h.edges[:-1], h.edges[1:], h.clips, strict=True)
  ]
  return "\n".join(rows) + "\n"


def _round_up(width, whole) -> float:
  """The next of 1, 2, 5, 10, ... times a power of ten; 1 where all is whole."""
  if width <= 0:
    return 1.0
  power = 10.0 ** math.floor(math.log10(width))
  width = next(m * power for m in (1, 2, 5, 10) if m * power >= width)
  return max(width, 1.0) if whole else width
