"""Some clips of a source that follow each other, as a Source."""

import numpy as np

from trajvit.data.example import Example, Source


class Part:
  """Clips `start` to `stop` of another source, the latter excluded."""

  def __init__(self, source: Source, start: int, stop: int):
    """Checks the range.

    Raises:
      ValueError: it is empty or not inside of the source.
    """
    if not 0 <= start < stop <= len(source):
      raise ValueError(
        f"a part of {len(source)} clips cannot be [{start}, {stop})"
      )
    self._source, self._start, self._stop = source, start, stop

  def __len__(self) -> int:
    """The number of clips."""
    return self._stop - self._start

  @property
  def has_captions(self) -> bool:
    """Whether the source has captions."""
    return getattr(self._source, "has_captions", True)

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index` of the part; see `trajvit.data.example.Source`."""
    return self._source.example(self._start + index, rng)

  def fingerprint(self) -> str:
    """A hash of the source, with the range."""
    return f"{self._source.fingerprint()}-{self._start}-{self._stop}"
