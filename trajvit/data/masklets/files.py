"""Sidecar pairs of one video, made of its masklets.

A pair must be of all frames of its video, and masklets often are not: SA-V has
them for every fourth frame. There are two ways out, and neither is taken
unasked. A thinned video has the annotated frames alone, and every mask lies on
the frame that it was drawn for. Or every frame takes the masks of the annotated
frame nearest in time, of two the earlier: no pixel is written anew, and masks
lag behind by up to half a step.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from trajvit.data.decode import decode_frames, probe, write_video
from trajvit.data.example import BrokenClip
from trajvit.data.file_work import Outcome, sidecar_files
from trajvit.data.manifest import Record
from trajvit.data.masklets.annotation import (
  Annotation,
  find_annotation,
  frame_numbers,
)
from trajvit.data.masklets.images import read_images
from trajvit.data.masklets.json_files import read_json
from trajvit.data.sidecar_stream import count_tracks
from trajvit.data.sidecar_writer import SidecarWriter
from trajvit.data.tracks import sidecar_paths
from trajvit.data.transforms import nearest_indices

FILLS = ("none", "nearest", "thin")


@dataclasses.dataclass(frozen=True)
class Options:
  """How masklets become sidecars; it can be sent to other processes.

  Attributes:
    source: the folder of the masklets.
    suffix: see `find_annotation`.
    step: see `frame_numbers`.
    fill: what to do about frames without annotation: "none", the video is
      broken; "nearest" or "thin", see above.
    size: the shorter side of masks and of thinned videos, in pixels; smaller
      ones stay as small.
    max_tracks: M of a video.
    overwrite: whether to replace a valid pair.
  """

  source: str
  suffix: str | None = None
  step: int | None = None
  fill: str = "none"
  size: int = 480
  max_tracks: int = 256
  overwrite: bool = False

  def __post_init__(self):
    if self.fill not in FILLS:
      raise ValueError(
        f"fill must be one of {', '.join(FILLS)}, got {self.fill!r}"
      )
    for name in ("step", "size", "max_tracks"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def convert_file(
  record: Record,
  stem: pathlib.PurePath,
  thinned: pathlib.Path | None,
  options: Options,
) -> Outcome:
  """Writes the sidecar pair of a video, unless there is a valid one.

  Args:
    record: the video.
    stem: its path below the root of the videos, without suffix.
    thinned: where a thinned video goes; its pair is beside it.
    options: see Options.

  Returns:
    The outcome; a video that cannot be read, or whose masklets cannot, is one
    too.

  Raises:
    OSError: a file cannot be written.
  """
  try:
    if record.is_image:
      raise BrokenClip(record.path, "masklets are of videos, this is an image")
    info = probe(record.path)
    folder = pathlib.Path(options.source)
    path = find_annotation(folder, stem, options.suffix)
    read = read_images if path.is_dir() else read_json
    annotation = read(path)
    frames = frame_numbers(annotation, info.num_frames, options.step)
    if len(frames) == info.num_frames and options.fill != "thin":
      shown, pair = frames, sidecar_files(record)
    elif options.fill == "nearest":
      shown = _nearest(frames, info.num_frames)
      pair = sidecar_files(record)
    elif options.fill == "thin":
      shown, pair = np.arange(len(frames)), sidecar_paths(thinned)
      _thin(record.path, info, frames, thinned, options)
    else:
      raise BrokenClip(
        annotation.name,
        f"{len(frames)} of {info.num_frames} frames are annotated: --fill "
        "says what becomes of the others",
      )
    return _write(record.path, annotation, shown, pair, options)
  except BrokenClip as broken:
    named = broken.name == record.path
    return Outcome(record.path, reason=broken.reason if named else str(broken))


def _nearest(frames: np.ndarray, num_frames: int) -> np.ndarray:
  """Returns for every frame the number of the annotation nearest in time."""
  borders = (frames[:-1] + frames[1:]) / 2  # of two equally near the earlier
  return np.searchsorted(borders, np.arange(num_frames), side="left")


def _write(path, annotation, shown, pair, options) -> Outcome:
  """Writes the labels of annotations `shown` [T], one after the other."""
  if not options.overwrite:
    tracks = count_tracks(*pair, len(shown))
    if tracks is not None:
      return Outcome(path, False, tracks)
  pieces = _labels(annotation, shown, options.size)
  first = next(pieces)
  writer = SidecarWriter(
    *pair,
    (len(shown), *first.shape),
    frame_tracks=annotation.max_objects,
    max_tracks=options.max_tracks,
  )
  with writer:
    writer.append(first[None])
    for labels in pieces:
      writer.append(labels[None])
  return Outcome(path, True, writer.tracks, writer.dropped)


def _labels(
  annotation: Annotation, shown: np.ndarray, size: int
) -> Iterator[np.ndarray]:
  """Yields the label map [H, W] of each frame, at the size to store."""
  before, full = None, None
  for i in shown.tolist():
    if i != before:
      labels = annotation.labels(i)
      full = full or labels.shape
      if labels.shape != full:
        raise BrokenClip(
          annotation.name,
          f"annotation {i} has the size {labels.shape}, the first one {full}",
        )
      height, width = _smaller(*full, size)
      rows = nearest_indices(full[0], height)
      labels = labels[rows[:, None], nearest_indices(full[1], width)]
      before = i
    yield labels


def _thin(path, info, frames, thinned, options) -> None:
  """Writes a video of the annotated frames, at the rate that keeps time.

  They are all in memory meanwhile.
  """
  made = not options.overwrite and thinned.is_file()
  if made and probe(thinned).num_frames == len(frames):
    return
  height, width = _smaller(info.height, info.width, options.size)
  size = (max(2, height - height % 2), max(2, width - width % 2))
  pixels, _ = decode_frames(path, frames, size)
  steps = np.diff(frames)
  fps = info.fps / (steps.mean() if len(steps) else 1)
  thinned.parent.mkdir(parents=True, exist_ok=True)
  half = thinned.with_name(f"{thinned.stem}.partial{thinned.suffix}")
  write_video(half, pixels, fps)
  os.replace(half, thinned)


def _smaller(height: int, width: int, size: int) -> tuple[int, int]:
  """Returns height and width with the shorter side at most `size`."""
  scale = min(1, size / min(height, width))
  return max(1, round(height * scale)), max(1, round(width * scale))
