"""SA-V: everyday videos whose objects, and parts of them, were followed.

Source: SAM 2, arXiv:2408.00714. Videos have 24 frames a second, and every
fourth is annotated: clips are made of those frames alone. Masks may overlap, a
part lying on its whole, and there the smaller one owns the pixel.
"""

import functools
import hashlib
import json
import os
import pathlib
from typing import ClassVar

import numpy as np

from trajvit.data import decode, transforms
from trajvit.data.benchmarks.counts import check_counts
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.masklets.annotation import Annotation
from trajvit.data.masklets.images import read_images
from trajvit.data.masklets.json_files import read_json
from trajvit.data.paths import file_size, path_inside
from trajvit.data.segmentation.annotated import (
  AnnotatedVideos,
  FrameVideo,
  enumerated,
)

_STEP = 4  # frames from one annotation to the next
_FPS = 6.0  # of the annotated frames


class SaV(AnnotatedVideos):
  """The validation and test videos of SA-V, annotated by people.

  Under `root`: sav_<split>/sav_<split>.txt, the names of the videos,
  JPEGImages_24fps/<video>/<frame>.jpg and
  Annotations_6fps/<video>/<object>/<frame>.png, a mask each. An object has no
  mask in a frame for which it has no file.

  The protocol is class-agnostic: all objects of all videos of a split. SA-V's
  own score is another one, which is given the first mask of every object.

  Attributes:
    holds: split -> its videos and masklets.
  """

  holds: ClassVar = {
    "val": {"videos": 155, "masklets": 293},
    "test": {"videos": 150, "masklets": 278},
  }

  def __init__(
    self, *, clip: ClipSpec, root: str, split: str = "val", counts: bool = True
  ):
    """Reads the list of the split and lists its files.

    Args:
      clip: how every clip looks.
      root: the folder that holds sav_val and sav_test.
      split: "val" or "test".
      counts: whether there must be as much as in the release.

    Raises:
      ValueError: an unknown split, files or folders are missing, which the
        message names, or the numbers are others.
    """
    if split not in self.holds:
      raise ValueError(
        f"SA-V: split must be one of {', '.join(self.holds)}, got {split!r}; "
        "its training videos are the source 'sa_v_train'"
      )
    folder = pathlib.Path(root, f"sav_{split}")
    listed = folder / f"sav_{split}.txt"
    if not listed.is_file():
      raise ValueError(f"no list of videos: {listed}")
    images, masks = folder / "JPEGImages_24fps", folder / "Annotations_6fps"
    names = listed.read_text(encoding="utf-8").split()
    found = {
      name: sorted(
        pathlib.Path(path_inside(masks, name, str(listed))).glob("*/*.png")
      )
      for name in names
    }
    missing = [str(masks / name) for name in names if not found[name]]
    if missing or not names:
      raise ValueError(f"no annotations in {enumerated(missing) or masks}")
    if counts:
      objects = {path.parent for paths in found.values() for path in paths}
      have = {"videos": len(names), "masklets": len(objects)}
      check_counts(f"SA-V {split}", self.holds[split], have)
    videos = []
    for name, paths in found.items():
      frames = sorted({path.stem for path in paths}, key=lambda x: (len(x), x))
      files = tuple(str(images / name / f"{x}.jpg") for x in frames)
      videos.append(FrameVideo(name, files))
    super().__init__(clip=clip, videos=videos, fps=_FPS)
    self._masks, self._files = masks, tuple(found.values())

  def labels(
    self, index: int, frames: np.ndarray, size: tuple[int, int]
  ) -> np.ndarray:
    """Returns [n, H, W] int32; see AnnotatedVideos."""
    annotation = read_images(self._masks / self.videos[index].name)
    return _labels(annotation, frames, size)

  def annotation_fingerprint(self) -> str:
    """A hash of the names and sizes of all annotation files."""
    digest = hashlib.sha256()
    for paths in self._files:
      row = [[x.parent.name, x.name, file_size(str(x))] for x in paths]
      digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]


class SaVTrain(AnnotatedVideos):
  """The training videos of SA-V, MP4 files with masklets in JSON files.

  Anywhere below `root`: <video>.mp4 with <video>_manual.json, drawn by people
  with SAM 2's help, or <video>_auto.json, by SAM 2 alone, beside it. Videos
  without the file that is asked for are left out.

  Attributes:
    holds: annotation -> how many videos have it.
  """

  holds: ClassVar = {"manual": {"videos": 50583}, "auto": {"videos": 48436}}

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    annotation: str = "manual",
    counts: bool = True,
  ):
    """Lists the files; they are opened when their clip is asked for.

    Args:
      clip: how every clip looks.
      root: the folder of all training videos, sav_train.
      annotation: "manual" or "auto".
      counts: whether there must be as many videos as in the release.

    Raises:
      ValueError: an unknown annotation, or no or another number of videos.
    """
    if annotation not in self.holds:
      raise ValueError(
        f"annotation must be one of {', '.join(self.holds)}, got {annotation!r}"
      )
    end = f"_{annotation}.json"
    files = sorted(pathlib.Path(root).rglob(f"*{end}"))
    videos = [
      path.with_name(f"{path.name.removesuffix(end)}.mp4") for path in files
    ]
    if not videos:
      raise ValueError(f"no annotations (*{end}) below {root}")
    if counts:
      have = {"videos": sum(video.is_file() for video in videos)}
      check_counts(f"SA-V train {annotation}", self.holds[annotation], have)
    super().__init__(
      clip=clip,
      videos=[FrameVideo(video.stem, (str(video),)) for video in videos],
      fps=_FPS,
    )
    self._end = end

  def labels(
    self, index: int, frames: np.ndarray, size: tuple[int, int]
  ) -> np.ndarray:
    """Returns [n, H, W] int32; see AnnotatedVideos.

    They are brought to `size`, which is smaller than the video's: each pixel
    takes the source pixel floor(i * in / out).
    """
    return _labels(self._annotation(self.videos[index]), frames, size, fit=True)

  def annotation_fingerprint(self) -> str:
    """A hash of the sizes of all annotation files."""
    sizes = [file_size(self._path(video)) for video in self.videos]
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:16]

  def _path(self, video: FrameVideo) -> str:
    return video.frames[0].removesuffix(".mp4") + self._end

  def _annotation(self, video: FrameVideo) -> Annotation:
    path = self._path(video)
    return _read_json(path, file_size(path))

  def _length(self, video: FrameVideo) -> int:
    return self._annotation(video).count

  def _frames(self, video: FrameVideo, indices) -> np.ndarray:
    """Returns frames [n, H, W, 3] uint8, at most twice as large as needed."""

    def choose(info):
      frames = _STEP * indices
      if frames[-1] >= info.num_frames:
        raise BrokenClip(
          video.frames[0],
          f"frame {frames[-1]} is annotated, the video has {info.num_frames}",
        )
      size = transforms.decoded_size(info.height, info.width, self._clip.size)
      return frames, size

    return decode.decode_clip(video.frames[0], choose)[0]

  @staticmethod
  def _where(video: FrameVideo) -> str:
    """What messages call a video: its file."""
    return video.frames[0]


@functools.lru_cache(maxsize=4)
def _read_json(path: str, size: int) -> Annotation:
  """`read_json`, remembered from counting the frames to reading their masks."""
  del size  # a file that has changed is read anew
  return read_json(pathlib.Path(path))


def _labels(
  annotation: Annotation, frames: np.ndarray, size: tuple[int, int], fit=False
) -> np.ndarray:
  """Returns the labels of annotated frames, [n, H, W] int32.

  Raises:
    BrokenClip: a mask cannot be read, or has another size and is not to `fit`.
  """
  labels = np.empty((len(frames), *size), np.int32)
  for row, frame in zip(labels, frames.tolist(), strict=True):
    read = annotation.labels(frame)
    if fit:
      rows = transforms.nearest_indices(read.shape[0], size[0])
      columns = transforms.nearest_indices(read.shape[1], size[1])
      read = read[rows[:, None], columns]
    if read.shape != size:
      name = os.path.join(annotation.name, str(frame))
      raise BrokenClip(name, f"it is {read.shape}, its frame {size}")
    row[:] = read
  return labels
