"""What a source yields: one clip with its captions, on the host, in NumPy."""

import dataclasses
from typing import Any, Protocol

import numpy as np

# Where an evaluation looks, in time and in space; see `ClipSpec.view`.
View = tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True)
class ClipSpec:
  """How every clip of a run looks, whatever source it comes from.

  Attributes:
    frames: T, frames a clip.
    size: H = W, pixels.
    track_grid: h = w of the track label map; divides `size`.
    max_tracks: M; a clip with more keeps its largest M, the rest are counted.
    sampler: how frames are chosen from a video, see `data.sampling`.
    augment: what training does to a clip, see `data.augment`: one name, or
      specs `{"name": ..., **arguments}`, done one after the other and kept as
      tuples of (key, value) pairs.
    images: what a still image is: "repeat", T equal frames; or "single", T of
      which only the first is real, see `Clip.frame_mask`.
    view: what an evaluation sees, (time, space) in [0, 1]: how far into the
      choice that the sampler has; and how far along the longer side a square
      lies that is as wide as the shorter one. None: as the sampler and the
      augmentation have it without chance.
  """

  frames: int
  size: int
  track_grid: int
  max_tracks: int
  sampler: str = "middle"
  augment: str | tuple[tuple[tuple[str, Any], ...], ...] = "none"
  images: str = "repeat"
  view: View = (None, None)

  def __post_init__(self):
    object.__setattr__(self, "view", tuple(self.view))
    if len(self.view) != 2 or any(
      x is not None and not 0 <= x <= 1 for x in self.view
    ):
      raise ValueError(
        f"view must be (time, space), each in [0, 1] or None, got {self.view}"
      )
    if not isinstance(self.augment, str):
      object.__setattr__(self, "augment", _hashable_specs(self.augment))
    if self.images not in ("repeat", "single"):
      raise ValueError(
        f"images must be 'repeat' or 'single', got {self.images!r}"
      )
    if self.track_grid < 1 or self.size % self.track_grid:
      raise ValueError(
        f"track_grid must divide size {self.size}, got {self.track_grid}"
      )


def _hashable_specs(specs) -> tuple:
  """Returns specs as sorted tuples of pairs; takes such tuples, too."""
  try:
    pairs = [dict(spec).items() for spec in specs]
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"augment must be a name or a list of dicts with a name, got {specs!r}"
    ) from error
  return tuple(
    tuple((key, _hashable(value)) for key, value in sorted(spec))
    for spec in pairs
  )


def _hashable(value):
  """Returns a value with tuples in place of lists."""
  if isinstance(value, list | tuple):
    return tuple(map(_hashable, value))
  return value


@dataclasses.dataclass(frozen=True)
class Example:
  """One clip.

  Attributes:
    frames: [T, H, W, 3] uint8 RGB.
    times: [T] float32, seconds from the start of the video.
    tracks: [T, h, w] int32 in [0, M) or -1, or None.
    captions: one or more captions; empty where there are none.
    clip_id: clips with equal ids match each other's captions.
    label: class, -1 = unknown.
    name: what a message calls this clip: its path, or source and index.
    dropped_tracks: how many tracks did not fit into M.
    frame_mask: [T] bool, True = real; None means that all frames are.
    labels: all classes, of a clip that may have several or none.
  """

  frames: np.ndarray
  times: np.ndarray
  tracks: np.ndarray | None
  captions: tuple[str, ...]
  clip_id: int
  label: int
  name: str
  dropped_tracks: int = 0
  frame_mask: np.ndarray | None = None
  labels: tuple[int, ...] = ()


class BrokenClip(Exception):
  """A clip that cannot be read; the loader counts and replaces it."""

  def __init__(self, name: str, reason: str):
    """`name` is the file at fault, `reason` one line for a person."""
    super().__init__(f"{name}: {reason}")
    self.name = name
    self.reason = reason

  def __reduce__(self):  # exceptions with two arguments do not pickle otherwise
    return type(self), (self.name, self.reason)


class Source(Protocol):
  """A finite, random access collection of clips."""

  def __len__(self) -> int:
    """The number of clips."""

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`.

    Args:
      index: in [0, len).
      rng: draws the augmentation, the frames and the caption of a training
        example, which then has one caption; None gives the evaluation view:
        no augmentation, frames that the sampler takes without chance, all
        captions.

    Raises:
      BrokenClip: the clip cannot be read.
    """

  def fingerprint(self) -> str:
    """A short hash of what the source holds, equal for equal content."""
