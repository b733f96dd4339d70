"""From a record of a manifest to the clip that is packed."""

import contextlib
import dataclasses
import io
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from trajvit.data.clips import StoredClip, clip_extent
from trajvit.data.decode import read_image, write_video_pieces
from trajvit.data.example import BrokenClip
from trajvit.data.file_work import sidecar_files
from trajvit.data.formats.payload import MAX_BYTES, PackedClip
from trajvit.data.manifest import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Record
from trajvit.data.media import Blob
from trajvit.data.npy_stream import open_array
from trajvit.data.sidecar_stream import open_sidecars
from trajvit.data.tracks import label_map, load_sidecars
from trajvit.data.video_reader import VideoInfo, one_line, open_video

TRACKS = ("none", "sidecar", "auto")
_PIECE = 16  # frames decoded before they are encoded
_KEY_INTERVAL = 12  # frames, where a clip is cut out and `gop` is not given


@dataclasses.dataclass(frozen=True)
class Options:
  """What is done to clips before they are packed.

  Attributes:
    short_side: the shorter side in pixels, rounded to an even number; what is
      smaller stays so. None leaves all as it is.
    gop: frames from one key frame to the next; None leaves them as they are,
      or takes 12 where a video is encoded anyway.
    fps: the highest frame rate; a slower video keeps its own.
    tracks: "none"; "sidecar", without which a clip is broken; or "auto", where
      there are any.
  """

  short_side: int | None = None
  gop: int | None = None
  fps: float | None = None
  tracks: str = "auto"

  def __post_init__(self):
    for name, least in (("short_side", 2), ("gop", 1)):
      value = getattr(self, name)
      if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if self.fps is not None and not 0 < self.fps < math.inf:
      raise ValueError(f"fps must be above 0, got {self.fps}")
    if self.tracks not in TRACKS:
      raise ValueError(
        f"tracks must be one of {', '.join(TRACKS)}, got {self.tracks!r}"
      )


def make_clip(
  record: Record, *, name: str, clip_id: int, options: Options
) -> PackedClip:
  """Returns a clip as it is packed.

  The file of a whole clip is copied byte by byte, unless options ask for other
  frames; that its first and last frame can be decoded is all that is then
  looked at. Else it is encoded anew, and so is every part of a video, which is
  thus cut out.

  Args:
    record: the clip.
    name: what to call it.
    clip_id: see PackedClip.
    options: see Options.

  Raises:
    BrokenClip: the file or its tracks cannot be read.
    ValueError: its tracks are for T frames, which are not among those that
      `fps` leaves.
  """
  make = _image if record.is_image else _video
  media, suffix, mask, graph = make(record, options)
  if len(media) > MAX_BYTES:
    raise BrokenClip(
      record.path, f"{len(media)} bytes are more than the {MAX_BYTES} of a clip"
    )
  return PackedClip(
    name=name,
    media=media,
    suffix=suffix,
    is_image=record.is_image,
    clip_id=clip_id,
    captions=record.captions,
    label=record.label,
    labels=record.labels,
    mask=mask,
    graph=graph,
  )


def _image(record, options) -> tuple:
  """Returns file, suffix, mask and graph of an image."""
  path = record.path
  data, suffix = _read(path), _suffix(path, IMAGE_SUFFIXES)
  image = Image.fromarray(read_image(Blob(path, data)))
  size = _size(image.height, image.width, options.short_side)
  if size != (image.height, image.width):
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    suffix, kind = (".jpg", "JPEG") if lossy else (".png", "PNG")
    file = io.BytesIO()
    image.resize(size[::-1], Image.Resampling.LANCZOS).save(
      file, kind, quality=95
    )
    data = file.getvalue()
  pair = _pair(record, options)
  if pair is None:
    return data, suffix, None, None
  with _broken(path):
    mask, graph = load_sidecars(*pair)
    label_map(mask, graph, name=pair[0])
  if record.graph is None:
    return data, suffix, _npz(arr_0=mask[0]), None
  return data, suffix, _npz(arr_0=mask), _npz(tensor=graph)


def _video(record, options) -> tuple:
  """Returns file, suffix, mask and graph of a video or of a part of one."""
  path = record.path
  changed = (options.short_side, options.gop, options.fps) != (None,) * 3
  if not (changed or record.start or record.end is not None):
    data, suffix = _read(path), _suffix(path, VIDEO_SUFFIXES)
    with open_video(Blob(path, data)) as video:
      video.read(np.array([0, video.info.num_frames - 1]))
      indices = np.arange(video.info.num_frames)
      tracks = _video_tracks(record, options, video.info, indices)
    return data, suffix, *tracks
  with open_video(path) as video, tempfile.TemporaryDirectory() as folder:
    indices, fps = _chosen(record, video.info, options.fps)
    tracks = _video_tracks(record, options, video.info, indices)
    size = _size(video.info.height, video.info.width, options.short_side, 2)
    file = pathlib.Path(folder, "clip.mp4")
    write_video_pieces(
      file,
      (
        video.read(indices[i : i + _PIECE], size)[0]
        for i in range(0, len(indices), _PIECE)
      ),
      fps,
      key_interval=options.gop or _KEY_INTERVAL,
    )
    return file.read_bytes(), ".mp4", *tracks


def _chosen(record, info: VideoInfo, limit) -> tuple[np.ndarray, float]:
  """Returns which frames of a video are packed, and their frame rate.

  At a lower rate they are those on screen at 0, 1 / fps, 2 / fps, ...
  """
  stored = StoredClip(
    *(record.path, record.path, False, 0), start=record.start, end=record.end
  )
  first, count = clip_extent(stored, info.num_frames, info.fps)
  fps = min(info.fps, limit or info.fps)
  number = math.ceil(count * fps / info.fps - 1e-6)
  steps = np.floor(np.arange(number) * (info.fps / fps) + 1e-6)
  return first + np.minimum(steps.astype(np.int64), count - 1), fps


def _video_tracks(record, options, info, indices) -> tuple:
  """Returns the files of the tracks of the frames at `indices`."""
  pair = _pair(record, options)
  if pair is None:
    return None, None
  with _broken(record.path), open_sidecars(*pair) as sidecars:
    held = sidecars.shape[0]
    for _ in sidecars.pieces(_PIECE):
      pass  # all of it is read: it must not contradict itself
  if held != info.num_frames:
    if indices[-1] - indices[0] + 1 != len(indices):
      raise ValueError(
        f"{record.path}: its tracks are for {held} of its {info.num_frames} "
        "frames, which --fps does not keep; pack with --tracks none, or make "
        "tracks of all frames"
      )
    indices = np.arange(held)
  with _broken(record.path):
    mask = _rows(pair[0], "arr_0", indices)
    with open_array(pair[1], "tensor") as stream:
      graph = stream.read(stream.shape[0])
  if len(indices) < held:
    graph = graph[:, indices]
    graph = graph[graph.any(axis=1)]  # without tracks that are elsewhere
  return _npz(arr_0=mask), _npz(tensor=graph)


def _rows(path, key, indices) -> np.ndarray:
  """Returns some rows of an array in a file, holding no others."""
  kept, start = [], 0
  with open_array(path, key) as stream:
    while start < stream.shape[0]:
      piece = stream.read(_PIECE)
      here = (start <= indices) & (indices < start + len(piece))
      kept.append(piece[indices[here] - start])
      start += len(piece)
  return np.concatenate(kept)


def _pair(record, options) -> tuple[str, str | None] | None:
  """Returns the sidecar files, if there are any and they are wanted.

  Raises:
    BrokenClip: there should be some.
  """
  if options.tracks == "none":
    return None
  pair = sidecar_files(record)
  missing = [path for path in pair if path and not os.path.isfile(path)]
  if missing:
    if options.tracks == "sidecar" or record.mask or record.graph:
      raise BrokenClip(record.path, f"no sidecar {' and '.join(missing)}")
    return None
  return pair


@contextlib.contextmanager
def _broken(path) -> Iterator[None]:
  """Makes what is wrong with the sidecars of a clip a broken clip."""
  try:
    yield
  except (ValueError, OSError) as error:
    raise BrokenClip(path, one_line(error)) from error


def _npz(**arrays) -> bytes:
  """Returns a compressed npz file; equal arrays give equal bytes."""
  file = io.BytesIO()
  np.savez_compressed(file, **arrays)
  return file.getvalue()


def _size(height, width, short_side, multiple=1) -> tuple[int, int]:
  """Returns height and width with the shorter side at most `short_side`."""
  scale = 1.0
  if short_side is not None:
    scale = min(1.0, short_side / min(height, width))
  return tuple(
    max(multiple, round(side * scale / multiple) * multiple)
    for side in (height, width)
  )


def _read(path) -> bytes:
  try:
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise BrokenClip(path, one_line(error)) from error


def _suffix(path, known) -> str:
  suffix = pathlib.PurePath(path).suffix.lower()
  if suffix not in known:
    raise BrokenClip(
      path, f"expected a suffix of {', '.join(sorted(known))}, got {suffix!r}"
    )
  return suffix
