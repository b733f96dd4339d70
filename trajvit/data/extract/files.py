"""Tracks of one video or image file, written beside it."""

import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from trajvit.data import overlay
from trajvit.data.decode import decode_clip, probe, read_image
from trajvit.data.example import BrokenClip
from trajvit.data.extract import extract_tracks
from trajvit.data.extract.long_video import extract_video
from trajvit.data.file_work import Outcome, sidecar_files
from trajvit.data.manifest import Record
from trajvit.data.sampling import middle
from trajvit.data.sidecar_stream import count_tracks, open_sidecars
from trajvit.data.tracks import (
  compact_tracks,
  label_map,
  load_sidecars,
  write_sidecars,
)


@dataclasses.dataclass(frozen=True)
class Options:
  """How tracks are extracted from files; it can be sent to other processes.

  Attributes:
    frames: T, the "middle" frames of a video that get tracks.
    size: the shorter side of the frames looked at; smaller ones stay as small.
    max_tracks: M, of T frames or of a chunk.
    all_frames: whether all frames of a video get tracks, chunk by chunk; T is
      then how many of them a picture shows.
    chunk: frames a chunk.
    max_video_tracks: M of a video all of whose frames have tracks.
    segmenter: "module:function" in place of the default, or None.
    tracker: likewise, see `extract_tracks`.
    overwrite: whether to replace a valid pair of sidecar files.
  """

  frames: int = 16
  size: int = 224
  max_tracks: int = 64
  all_frames: bool = False
  chunk: int = 32
  max_video_tracks: int = 256
  segmenter: str | None = None
  tracker: str | None = None
  overwrite: bool = False

  def __post_init__(self):
    least = {"frames": 1, "size": 1, "max_tracks": 1, "max_video_tracks": 1}
    for name, low in {**least, "chunk": 2}.items():
      if getattr(self, name) < low:
        raise ValueError(
          f"{name} must be at least {low}, got {getattr(self, name)}"
        )


def extract_file(
  record: Record, picture: pathlib.Path | None, options: Options
) -> Outcome:
  """Writes the sidecar files of a record, unless there is a valid pair.

  Args:
    record: the file.
    picture: where to draw the tracks, a .gif and a strip of the same name that
      ends in .png; if that is there, kept tracks are not drawn again. None
      draws nothing.
    options: see Options.

  Returns:
    The outcome; a file that cannot be read is one too.

  Raises:
    ValueError: a part that replaces a default returns what it should not.
    OSError: the sidecar files or pictures cannot be written.
  """
  work = _extract_chosen
  if options.all_frames and not record.is_image:
    work = _extract_all
  try:
    return work(record, picture, options)
  except BrokenClip as broken:
    return Outcome(record.path, reason=broken.reason)


def _extract_chosen(record, picture, options) -> Outcome:
  """Tracks of an image, or of T frames of a video."""
  labels = None if options.overwrite else _finished(record, options.frames)
  made = labels is None
  drawn = _is_drawn(picture, made)
  if made or drawn:
    frames = _read(record, options)
  if made:
    labels = _extract(frames, options)
    write_sidecars(*sidecar_files(record), labels)
  if drawn:
    _draw(picture, frames, labels)
  present = np.unique(labels[labels >= 0])
  return Outcome(record.path, made, len(present))


def _extract_all(record, picture, options) -> Outcome:
  """Tracks of all frames of a video, never all of them in memory."""
  pair, info, dropped = sidecar_files(record), probe(record.path), 0
  tracks = None
  if not options.overwrite:
    tracks = count_tracks(*pair, info.num_frames)
  made = tracks is None
  if made:
    tracks, dropped = extract_video(
      record.path,
      pair,
      functools.partial(_extract, options=options),
      shape=(
        info.num_frames,
        *_size(info.height, info.width, options.size),
      ),
      chunk=options.chunk,
      chunk_tracks=options.max_tracks,
      max_tracks=options.max_video_tracks,
    )
  if _is_drawn(picture, made):
    with open_sidecars(*pair) as sidecars:
      labels = sidecars.labels_at(middle(info.num_frames, options.frames))
    _draw(picture, _read(record, options), compact_tracks(labels))
  return Outcome(record.path, made, tracks, dropped)


def _extract(frames, options) -> np.ndarray:
  return extract_tracks(
    frames,
    max_tracks=options.max_tracks,
    segmenter=options.segmenter and load_function(options.segmenter),
    tracker=options.tracker and load_function(options.tracker),
  )


def _is_drawn(picture, made) -> bool:
  return bool(picture) and (made or not picture.with_suffix(".png").exists())


def _draw(picture, frames, labels) -> None:
  picture.parent.mkdir(parents=True, exist_ok=True)
  overlay.save_gif(picture, frames, labels)
  overlay.save_strip(picture.with_suffix(".png"), frames, labels)


@functools.cache
def load_function(name: str) -> Callable:
  """Returns the function that "module:function" names.

  Raises:
    ValueError: there is none.
  """
  module, colon, function = name.partition(":")
  if not (module and colon and function):
    raise ValueError(f'expected "module:function", got {name!r}')
  try:
    loaded = importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{name}: {error}; is its folder on PYTHONPATH?"
    ) from error
  if not callable(getattr(loaded, function, None)):
    raise ValueError(f"{name}: {module} has no function {function!r}")
  return getattr(loaded, function)


def _finished(record: Record, frames: int) -> np.ndarray | None:
  """Returns the label map that is there, or None without a valid one.

  A pair may hold all frames of its video, as one made elsewhere does: the
  middle ones of them are returned.

  Raises:
    BrokenClip: the pair is valid for a video that cannot be read.
  """
  try:
    mask, graph = load_sidecars(*sidecar_files(record))
    labels = label_map(mask, graph)
  except (ValueError, OSError):
    return None
  if len(labels) == (1 if record.is_image else frames):
    return labels
  if record.is_image or len(labels) != probe(record.path).num_frames:
    return None
  return labels[middle(len(labels), frames)]


def _read(record: Record, options: Options) -> np.ndarray:
  """Returns the frames to look at: [T, H, W, 3] uint8, T = 1 for an image."""
  if record.is_image:
    image = Image.fromarray(read_image(record.path))
    height, width = _size(image.height, image.width, options.size)
    return np.array(image.resize((width, height)))[None]

  def choose(info):
    indices = middle(info.num_frames, options.frames)
    return indices, _size(info.height, info.width, options.size)

  return decode_clip(record.path, choose)[0]


def _size(height: int, width: int, size: int) -> tuple[int, int]:
  """Returns height and width with the shorter side at most `size`."""
  scale = min(1, size / min(height, width))
  return max(1, round(height * scale)), max(1, round(width * scale))
