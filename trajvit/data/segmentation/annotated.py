"""A Source of videos stored as image files, with labels for their pixels."""

import abc
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from trajvit.data import decode
from trajvit.data.augment import Augment, Footage
from trajvit.data.example import BrokenClip, ClipSpec, Example
from trajvit.data.paths import file_size
from trajvit.data.sampling import SAMPLERS
from trajvit.data.tracks import limit_tracks

_NAMED = 4  # files that a message names


@dataclasses.dataclass(frozen=True)
class FrameVideo:
  """A video in image files.

  Attributes:
    name: what the data set calls it.
    frames: the files of its frames, in order; at least one.
  """

  name: str
  frames: tuple[str, ...]


class AnnotatedVideos(abc.ABC):
  """Clips of videos in image files, whose tracks are outlined objects.

  The T frames are those that `clip.sampler` chooses, in the evaluation view
  too, there without chance: "uniform" is the protocol that the published
  grouping scores use, from the first frame to the last. Frames and labels are
  seen through `clip.augment` together.

  Attributes:
    videos: all FrameVideos, in order.
    has_captions: False.
    tracks_are_ground_truth: True.
  """

  has_captions = False
  tracks_are_ground_truth = True

  def __init__(
    self, *, clip: ClipSpec, videos: Sequence[FrameVideo], fps: float
  ):
    """Keeps the arguments; `fps` is of the frames in the files.

    Raises:
      ValueError: `fps` is not positive, or an unknown sampler or augmentation.
    """
    if fps <= 0:
      raise ValueError(f"fps must be positive, got {fps}")
    self.videos = tuple(videos)
    self._clip, self._fps = clip, fps
    self._sampler = SAMPLERS[clip.sampler]
    self._augment = Augment(clip)

  def __len__(self) -> int:
    """The number of videos."""
    return len(self.videos)

  def __repr__(self) -> str:
    return f"{type(self).__name__}({len(self)} videos, {self.fingerprint()})"

  @abc.abstractmethod
  def labels(
    self, index: int, frames: np.ndarray, size: tuple[int, int]
  ) -> np.ndarray:
    """Returns the object that owns each pixel.

    Args:
      index: of the video.
      frames: [n] frame numbers, ascending.
      size: (H, W) of those frames.

    Returns:
      [n, H, W] int32, the object or -1; an object keeps its label over time.

    Raises:
      BrokenClip: the annotation cannot be read or has another size.
    """

  @abc.abstractmethod
  def annotation_fingerprint(self) -> str:
    """A short hash of the annotations, equal for equal content."""

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`; see `trajvit.data.example.Source`.

    Of more than `clip.max_tracks` objects the largest are kept and the others
    counted; those that the clip does not show are none of its tracks.

    Raises:
      BrokenClip: an image or an annotation is missing or cannot be read.
    """
    video, spec = self.videos[index], self._clip
    indices = self._sampler(self._length(video), spec.frames, rng)
    chosen, order = np.unique(indices, return_inverse=True)
    frames = self._frames(video, chosen)  # [n, H', W', 3]
    labels = self.labels(index, chosen, frames.shape[1:3])  # [n, H', W']
    times = (indices / self._fps).astype(np.float32)
    seen = self._augment(Footage(frames[order], times, labels[order]), rng)
    tracks, dropped = limit_tracks(seen.tracks, spec.max_tracks)
    return Example(
      frames=seen.frames,
      times=seen.times,
      tracks=tracks,
      captions=(),
      clip_id=index,
      label=-1,
      name=self._where(video),
      dropped_tracks=dropped,
    )

  def fingerprint(self) -> str:
    """A hash of the names and sizes of all frames, and of the annotations."""
    digest = hashlib.sha256(self.annotation_fingerprint().encode())
    for video in self.videos:
      row = [video.name, *map(os.path.basename, video.frames)]
      row += map(file_size, video.frames)
      digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]

  def _length(self, video: FrameVideo) -> int:
    """How many frames a video has that a clip may be made of."""
    return len(video.frames)

  def _frames(self, video: FrameVideo, indices) -> np.ndarray:
    """Returns frames [n, H, W, 3] uint8, all of one size."""
    paths = [video.frames[i] for i in indices]
    require_files(self._where(video), paths)
    frames = [decode.read_image(path) for path in paths]
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) > 1:
      raise BrokenClip(self._where(video), f"frames of several sizes: {sizes}")
    return np.stack(frames)

  @staticmethod
  def _where(video: FrameVideo) -> str:
    """What messages call a video: the folder of its frames."""
    return str(pathlib.Path(video.frames[0]).parent)


def require_files(clip: str, paths: Iterable[str]) -> None:
  """Raises BrokenClip, naming the first ones, if any of `paths` is missing."""
  missing = [path for path in paths if not os.path.isfile(path)]
  if missing:
    raise BrokenClip(clip, f"no {enumerated(missing)}")


def enumerated(names: Sequence[str]) -> str:
  """Returns "a, b, c, d and 3 more"."""
  more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
  return ", ".join(names[:_NAMED]) + more
