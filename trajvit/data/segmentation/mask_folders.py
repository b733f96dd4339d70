"""DAVIS-2017 and MOSE: a folder of frames and one of annotations a video."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trajvit.data.benchmarks.counts import check_counts
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.masklets.index_image import read_labels
from trajvit.data.paths import file_size, path_inside
from trajvit.data.segmentation.annotated import (
  AnnotatedVideos,
  FrameVideo,
  enumerated,
  require_files,
)


class _MaskFolders(AnnotatedVideos):
  """Frames `<images>/<video>/*.jpg`, labels `<masks>/<video>/<frame>.png`."""

  def __init__(
    self,
    *,
    clip: ClipSpec,
    images: pathlib.Path,
    masks: pathlib.Path,
    names: list[str],
    fps: float,
    missing_is_empty: bool,
    expected: tuple[str, dict[str, int]] | None,
  ):
    """Lists the frames; files are opened when their clip is asked for.

    Raises:
      ValueError: there is no video, a name leads out of the folders, or folders
        are missing or empty, which are all counted and the first ones named;
        or there are not as many videos as `expected`, whose first part names
        the split.
    """
    missing = [str(x) for x in (images, masks) if not x.is_dir()]
    if not missing:
      folders = [
        pathlib.Path(path_inside(root, name, "the list of videos"))
        for name in names
        for root in (images, masks)
      ]
      missing = [str(x) for x in folders if not x.is_dir()]
    if missing:
      raise ValueError(f"{len(missing)} folders missing: {enumerated(missing)}")
    videos = [
      FrameVideo(name, tuple(map(str, sorted((images / name).glob("*.jpg")))))
      for name in names
    ]
    empty = [str(images / x.name) for x in videos if not x.frames]
    if empty or not videos:
      raise ValueError(f"no frames (*.jpg) in {enumerated(empty) or images}")
    if expected is not None:
      check_counts(*expected, {"videos": len(videos)})
    super().__init__(clip=clip, videos=videos, fps=fps)
    self._masks, self._missing_is_empty = masks, missing_is_empty

  def labels(
    self, index: int, frames: np.ndarray, size: tuple[int, int]
  ) -> np.ndarray:
    """Returns [n, H, W] int32; see AnnotatedVideos."""
    video = self.videos[index]
    paths = [self._mask_path(video, i) for i in frames]
    if not self._missing_is_empty:
      require_files(self._where(video), paths)
    labels = np.full((len(paths), *size), -1, np.int32)
    for path, frame in zip(paths, labels, strict=True):
      if not os.path.isfile(path):
        continue
      read = read_labels(path)
      if read.shape != size:
        raise BrokenClip(path, f"it is {read.shape}, its frame {size}")
      frame[:] = read
    return labels

  def annotation_fingerprint(self) -> str:
    """A hash of the sizes of all annotation files."""
    digest = hashlib.sha256()
    for video in self.videos:
      paths = (self._mask_path(video, i) for i in range(len(video.frames)))
      digest.update(json.dumps([file_size(path) for path in paths]).encode())
    return digest.hexdigest()[:16]

  def _mask_path(self, video: FrameVideo, frame: int) -> str:
    name = pathlib.Path(video.frames[frame]).stem + ".png"
    return str(self._masks / video.name / name)


class Davis2017(_MaskFolders):
  """DAVIS-2017: 60 training and 30 validation videos, every object outlined.

  Under `root`: JPEGImages/480p/<video>/*.jpg, Annotations/480p/<video>/*.png
  and the names of a split's videos in ImageSets/2017/<split>.txt. A frame that
  is chosen and has no annotation makes its clip a broken one. Source:
  Pont-Tuset et al., arXiv:1704.00675.

  The protocol is `val`, scored on all objects of all 30 videos, without being
  told what to follow. Of `test-dev` and `test-challenge` only the first frames
  are annotated in public.

  Attributes:
    videos_of: split -> how many videos are in its list.
  """

  videos_of: ClassVar = {
    "train": 60,
    "val": 30,
    "test-dev": 30,
    "test-challenge": 30,
  }

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    split: str = "val",
    resolution: str = "480p",
    fps: float = 24.0,
    counts: bool = True,
  ):
    """Reads the list of the split and lists its frames.

    Args:
      clip: how every clip looks.
      root: the folder that the release unpacks to.
      split: the name of a list in ImageSets/2017.
      resolution: the folder of that name, "480p" or "Full-Resolution".
      fps: frames a second, for `times`.
      counts: whether there must be as many videos as in the release.

    Raises:
      ValueError: files or folders are missing, which the message names, or the
        number of videos is another one.
    """
    folder = pathlib.Path(root)
    listed = folder / "ImageSets" / "2017" / f"{split}.txt"
    if not listed.is_file():
      raise ValueError(f"no list of videos: {listed}")
    super().__init__(
      clip=clip,
      images=folder / "JPEGImages" / resolution,
      masks=folder / "Annotations" / resolution,
      names=listed.read_text(encoding="utf-8").split(),
      fps=fps,
      missing_is_empty=False,
      expected=expected_videos("DAVIS-2017", self.videos_of, split, counts),
    )


class Mose(_MaskFolders):
  """MOSE: crowded videos whose objects hide and come back.

  Under `root`: <split>/JPEGImages/<video>/*.jpg and
  <split>/Annotations/<video>/*.png. A frame without annotation has no object,
  as in the published grouping scores; of the public `valid` split only the
  first frames are annotated, so measure on videos of `train` that were not
  trained on. Source: Ding et al., arXiv:2302.01872; the counts are those of its
  first release, MOSEv1, of 2,149 videos.

  Attributes:
    videos_of: split -> how many videos it has.
  """

  videos_of: ClassVar = {"train": 1507, "valid": 311, "test": 331}

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    split: str = "valid",
    fps: float = 1.0,
    counts: bool = True,
  ):
    """Lists the videos and their frames.

    Args:
      clip: how every clip looks.
      root: the folder that the release unpacks to.
      split: the folder of that name.
      fps: frames a second, which the files do not tell; with 1, `times` are
        frame numbers.
      counts: whether there must be as many videos as in the release.

    Raises:
      ValueError: folders are missing or empty, which the message names, or the
        number of videos is another one.
    """
    images = pathlib.Path(root) / split / "JPEGImages"
    names = [x.name for x in images.glob("*") if x.is_dir()]
    super().__init__(
      clip=clip,
      images=images,
      masks=pathlib.Path(root) / split / "Annotations",
      names=sorted(names),
      fps=fps,
      missing_is_empty=True,
      expected=expected_videos("MOSE", self.videos_of, split, counts),
    )


def expected_videos(
  name: str, videos_of: Mapping[str, int], split: str, counts: bool
) -> tuple[str, dict[str, int]] | None:
  """Returns what `check_counts` expects of a split, None without `counts`.

  Raises:
    ValueError: nothing is known of this split.
  """
  if not counts:
    return None
  if split not in videos_of:
    raise ValueError(
      f"{name}: counts are known of {', '.join(videos_of)}, not of {split!r}; "
      "counts=False takes what is there"
    )
  return f"{name} {split}", {"videos": videos_of[split]}
