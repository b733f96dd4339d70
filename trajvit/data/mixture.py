"""The Source of several others, each with its share of what is trained on."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from trajvit.data.example import Example, Source

_MAX_ID = 2**31 - 1


class Mixture:
  """Clips of several sources, one source after the other.

  Training draws from each by its weight, see TrainOrder; an evaluation goes
  through all of them. Labels are kept as they are, so classification needs
  sources of the same classes. Clips of two sources do not match: `clip_id` is
  made different, and only wraps around beyond 2**31 over the number of sources.
  A source without captions gives empty ones among others that have some.

  Attributes:
    sizes: clips of each source.
    weights: their shares in training.
  """

  def __init__(
    self, *, sources: Sequence[dict], build_source: Callable[[dict], Source]
  ):
    """Builds the sources.

    Args:
      sources: at least one spec of a source as `data.train` is, each with a
        `weight` above 0, 1 where there is none. `clip` in it overrides entries
        of `data.clip` that do not change the shape of the batch.
      build_source: makes a source of a spec.

    Raises:
      ValueError: no source, or a weight that is not above 0.
    """
    if not sources:
      raise ValueError("a mixture needs at least one source, got none")
    specs = [dict(spec) for spec in sources]
    self.weights = tuple(float(spec.pop("weight", 1.0)) for spec in specs)
    if not min(self.weights) > 0:
      raise ValueError(
        f"the weights of a mixture must be above 0, got {self.weights}"
      )
    self._sources = tuple(build_source(spec) for spec in specs)
    self.sizes = tuple(len(source) for source in self._sources)
    self._starts = np.cumsum((0, *self.sizes))

  def __len__(self) -> int:
    """The number of clips of all sources."""
    return int(self._starts[-1])

  def __repr__(self) -> str:
    return f"Mixture({len(self.sizes)} sources, {self.fingerprint()})"

  @property
  def has_captions(self) -> bool:
    """Whether any of the sources has captions."""
    return any(getattr(s, "has_captions", True) for s in self._sources)

  @property
  def tracks_are_ground_truth(self) -> bool:
    """Whether the tracks of all sources are."""
    return all(
      getattr(s, "tracks_are_ground_truth", False) for s in self._sources
    )

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`; see `trajvit.data.example.Source`.

    Raises:
      BrokenClip: the clip cannot be read.
    """
    part = int(np.searchsorted(self._starts, index, side="right")) - 1
    example = self._sources[part].example(index - int(self._starts[part]), rng)
    unique = (example.clip_id * len(self._sources) + part) % _MAX_ID
    return dataclasses.replace(example, clip_id=unique)

  def fingerprint(self) -> str:
    """A short hash of the sources and their weights."""
    parts = [source.fingerprint() for source in self._sources]
    content = f"{parts} {self.weights}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]
