"""What the sources of stored clips share, whatever the format."""

import abc
import copy
import dataclasses
import hashlib
import json

import numpy as np

from trajvit.data.clips import ClipReader, StoredClip
from trajvit.data.example import ClipSpec, Example, View


class StoredClips(abc.ABC):
  """A Source of which each clip is found by its number."""

  def __init__(self, *, clip: ClipSpec, tracks: str, name: str):
    """Takes how clips are read.

    Args:
      clip: how every clip looks.
      tracks: see ClipReader.
      name: what messages call the source.

    Raises:
      ValueError: an unknown name.
    """
    self._clip, self._tracks, self._name = clip, tracks, name
    self._reader = ClipReader(clip, tracks)

  @abc.abstractmethod
  def __len__(self) -> int:
    """The number of clips."""

  def __repr__(self) -> str:
    return f"{type(self).__name__}({self._name!r}, {self.fingerprint()})"

  @property
  def extracted(self) -> int:
    """For how many clips tracks were extracted from pixels."""
    return self._reader.extracted

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`; see `trajvit.data.example.Source`.

    Raises:
      BrokenClip: it cannot be read.
      ValueError: tracks must be extracted and the packages for it are missing.
    """
    return self._reader.read(self.stored(index), rng)

  def seen_from(self, view: View) -> "StoredClips":
    """Returns the same clips as an evaluation sees them from a `ClipSpec.view`.

    Raises:
      ValueError: `clip.sampler` leaves no choice in time.
    """
    other = copy.copy(self)
    other._clip = dataclasses.replace(self._clip, view=view)
    other._reader = ClipReader(other._clip, self._tracks)
    return other

  @abc.abstractmethod
  def stored(self, index: int) -> StoredClip:
    """Returns clip `index` as it is stored.

    Raises:
      BrokenClip: it cannot be read.
    """

  @abc.abstractmethod
  def content(self) -> list:
    """Returns what tells the clips from others, as JSON."""

  def fingerprint(self) -> str:
    """A short hash of the clips and of how they are read."""
    values = [dataclasses.asdict(self._clip), self._tracks, self.content()]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
