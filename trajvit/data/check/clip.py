"""What one clip turns out to be, when it is read as an evaluation reads it."""

import dataclasses
import os

import numpy as np

from trajvit.data import decode
from trajvit.data.clips import ClipReader, StoredClip, clip_extent
from trajvit.data.example import BrokenClip, ClipSpec, Example, Source
from trajvit.data.tracks import sidecar_paths
from trajvit.data.transforms import decoded_size
from trajvit.data.video_reader import open_video

_PIECE = 256  # frames that are decoded before they are dropped
_SMALL = 32  # pixels; frames that nobody looks at are no larger
_PIXELS_PER_CELL = 4  # of the track grid, as the shipped configs have it
_MOST_TRACKS = 2**16
_MOST_EXTRACTED = 128  # tracks found in pixels, as the shipped configs have it


@dataclasses.dataclass(frozen=True)
class Settings:
  """How clips are looked at.

  Attributes:
    frames: T, frames of a clip; sidecars may be made for so many.
    track_grid: cells along a side, in which tracks are counted: one that has no
      cell is no token.
    every_frame: whether all frames of a clip are decoded, not only T.
    extract: whether tracks are found in the pixels of clips that have none.
  """

  frames: int = 16
  track_grid: int = 56
  every_frame: bool = False
  extract: bool = False

  def __post_init__(self):
    for name in ("frames", "track_grid"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )

  @property
  def spec(self) -> ClipSpec:
    """How clips look whose pixels nobody needs."""
    grid = self.track_grid
    return ClipSpec(
      frames=self.frames, size=grid, track_grid=grid, max_tracks=_MOST_TRACKS
    )


@dataclasses.dataclass(frozen=True)
class ClipCheck:
  """What one clip turned out to be.

  Attributes:
    name: its file, or what messages call it.
    reason: why it cannot be used, None if it can.
    captions: how many it has.
    label: its class, -1 = unknown.
    stored_tracks: whether there are files of tracks, whatever is in them.
    tracks: how many there are in T frames, None without tracks.
    height: pixels; 0 where that is not known.
    width: likewise.
    frames: of the clip; 0 likewise, and 1 of an image.
    fps: frame rate; None of an image, and where that is not known.
    seconds: duration; likewise.
    first: number of the first clip of the same file and extent.
  """

  name: str
  reason: str | None
  captions: int = 0
  label: int = -1
  stored_tracks: bool = False
  tracks: int | None = None
  height: int = 0
  width: int = 0
  frames: int = 0
  fps: float | None = None
  seconds: float | None = None
  first: int = 0


class Inspector:
  """Looks at the clips of a source, one at a time."""

  def __init__(self, source: Source, settings: Settings):
    """Keeps the source.

    Args:
      source: one whose clips have `settings.spec`. Of one with `stored`, which
        gives out a StoredClip, more than the pixels is looked at.
      settings: see Settings.
    """
    self._source, self._settings = source, settings
    spec = settings.spec
    self._readers = {
      tracks: ClipReader(spec, tracks) for tracks in ("none", "sidecar")
    }
    larger = dataclasses.replace(
      spec,
      size=_PIXELS_PER_CELL * settings.track_grid,
      max_tracks=_MOST_EXTRACTED,
    )
    self._readers["extract"] = ClipReader(larger, "extract")

  def check(self, index: int) -> ClipCheck:
    """Returns what clip `index` is; a broken clip is no error."""
    try:
      if not hasattr(self._source, "stored"):
        return _of_example(self._source.example(index, None))
      stored = self._source.stored(index)
    except BrokenClip as broken:
      return ClipCheck(broken.name, broken.reason)
    known = dict(
      name=stored.name,
      captions=len(stored.captions),
      label=stored.label,
      stored_tracks=_has_sidecars(stored),
    )
    how = "none"
    if known["stored_tracks"]:
      how = "sidecar"
    elif self._settings.extract:
      how = "extract"
    try:
      example = self._readers[how].read(stored, None)
      extent = self._extent(stored)
    except BrokenClip as broken:
      return ClipCheck(reason=broken.reason, **known)
    return ClipCheck(reason=None, tracks=_tracks(example), **known, **extent)

  def _extent(self, stored) -> dict:
    """Returns size, and of a video frames, rate and duration."""
    if isinstance(stored.media, np.ndarray) or stored.is_image:
      frames = stored.media
      if not isinstance(frames, np.ndarray):
        frames = decode.read_image(frames)[None]
      count, height, width = frames.shape[:3]
      extent = dict(frames=count, height=height, width=width)
      if stored.is_image:
        return extent
      _, count = clip_extent(stored, count, stored.fps)
      return extent | _duration(count, stored.fps)
    with open_video(stored.media) as video:
      info = video.info
      first, count = clip_extent(stored, info.num_frames, info.fps)
      if self._settings.every_frame:
        size = decoded_size(info.height, info.width, _SMALL)
        for start in range(first, first + count, _PIECE):
          video.read(np.arange(start, min(start + _PIECE, first + count)), size)
    return dict(height=info.height, width=info.width) | _duration(
      count, info.fps
    )


def _duration(count, fps) -> dict:
  return dict(frames=count, fps=fps, seconds=count / fps)


def _of_example(example: Example) -> ClipCheck:
  """What is known of a clip that a source gives out read."""
  return ClipCheck(
    name=example.name,
    reason=None,
    captions=len(example.captions),
    label=example.label,
    stored_tracks=example.tracks is not None,
    tracks=_tracks(example),
  )


def _tracks(example) -> int | None:
  if example.tracks is None:
    return None
  return int(example.tracks.max(initial=-1)) + 1  # they have no gaps


def _has_sidecars(stored: StoredClip) -> bool:
  """Whether there are tracks to read, also if half of them is missing."""
  try:
    if stored.sidecars() is not None:
      return True
  except BrokenClip:
    return True  # they are named, and missing
  on_disk = isinstance(stored.media, str | os.PathLike)
  return on_disk and any(map(os.path.isfile, sidecar_paths(stored.media)))
