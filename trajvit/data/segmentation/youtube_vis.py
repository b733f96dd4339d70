"""YouTube-VIS: folders of frames, and all annotations in one JSON file."""

import collections
import hashlib
import json
import pathlib
from typing import ClassVar

import numpy as np
from absl import logging

from trajvit.data.benchmarks.counts import check_counts
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.masklets.run_length import decode_mask
from trajvit.data.paths import path_inside
from trajvit.data.segmentation.annotated import AnnotatedVideos, FrameVideo


class YouTubeVis(AnnotatedVideos):
  """YouTube-VIS, 2019 or 2021: objects of forty classes, as run lengths.

  The JSON file has `videos`, each with `id` and `file_names`, and
  `annotations`, each an object with `video_id` and `segmentations`, a mask a
  frame or null. Objects of a video are numbered in the order of the file, and
  where two overlap the later one owns the pixel. Videos without an object are
  left out, as in the published grouping scores. Source: Yang et al.,
  arXiv:1905.04804.

  Annotations of the validation and test videos are not public: the protocol is
  to measure on videos of the training file that were not trained on, and the
  counts are of that file, before any are left out.

  Attributes:
    releases: release -> what its training file holds.
  """

  releases: ClassVar = {
    "2019": {"videos": 2238, "categories": 40},
    "2021": {"videos": 2985, "categories": 40},
  }

  def __init__(
    self,
    *,
    clip: ClipSpec,
    annotations: str,
    images: str = "",
    fps: float = 6.0,
    release: str = "2019",
    counts: bool = True,
  ):
    """Reads the annotations, which stay in memory.

    Args:
      clip: how every clip looks.
      annotations: the JSON file, such as train/instances.json.
      images: the folder that the names of frames start from; "" is JPEGImages
        beside `annotations`.
      fps: frames a second, for `times`: of thirty, every fifth is annotated.
      release: which training file `annotations` is, "2019" or "2021"; it only
        matters for `counts`.
      counts: whether it must hold what that file does.

    Raises:
      ValueError: the file or the folder is missing, the file is not as above,
        holds something else than expected, or no video has an object.
    """
    if release not in self.releases:
      raise ValueError(
        f"release must be one of {', '.join(self.releases)}, got {release!r}"
      )
    path = pathlib.Path(annotations)
    folder = pathlib.Path(images) if images else path.parent / "JPEGImages"
    missing = [str(path)] * (not path.is_file())
    missing += [str(folder)] * (not folder.is_dir())
    if missing:
      raise ValueError(f"missing: {', '.join(missing)}")
    content = path.read_bytes()
    listed, objects, categories = _parse(path, content)
    if counts:
      found = {"videos": len(listed), "categories": categories}
      check_counts(f"YouTube-VIS {release}", self.releases[release], found)
    kept = [video for video in listed if objects[video["id"]]]
    if not kept:
      raise ValueError(f"{path}: none of {len(listed)} videos has an object")
    logging.info(
      "%s: %d videos, %d more without an object are left out",
      *(path, len(kept), len(listed) - len(kept)),
    )
    videos = []
    for video in kept:
      names = video["file_names"]
      frames = tuple(path_inside(folder, name, str(path)) for name in names)
      videos.append(FrameVideo(str(pathlib.Path(names[0]).parent), frames))
    super().__init__(clip=clip, videos=videos, fps=fps)
    self._objects = [objects[video["id"]] for video in kept]
    self._digest = hashlib.sha256(content).hexdigest()[:16]

  def labels(
    self, index: int, frames: np.ndarray, size: tuple[int, int]
  ) -> np.ndarray:
    """Returns [n, H, W] int32; see AnnotatedVideos."""
    labels = np.full((len(frames), *size), -1, np.int32)
    where = self._where(self.videos[index])
    for label, masks in enumerate(self._objects[index]):
      for row, frame in zip(labels, frames.tolist(), strict=True):
        if frame >= len(masks) or masks[frame] is None:
          continue
        what = f"object {label} in frame {frame}"
        try:
          mask = decode_mask(masks[frame])
        except (ValueError, TypeError) as error:
          raise BrokenClip(where, f"{what}: {error}") from error
        if mask.shape != size:
          raise BrokenClip(where, f"{what} is {mask.shape}, its frame {size}")
        row[mask] = label
    return labels

  def annotation_fingerprint(self) -> str:
    """A hash of the JSON file."""
    return self._digest


def _parse(path, content) -> tuple[list[dict], dict, int]:
  """Returns the videos, by their ids the masks of every object, and how many
  categories there are.

  Raises:
    ValueError: the file is not as the class says.
  """
  try:
    data = json.loads(content)
    if not data["annotations"]:
      raise ValueError(
        "no annotations in it; those of the validation and test videos are not "
        "public"
      )
    objects = collections.defaultdict(list)
    for annotation in data["annotations"]:
      objects[annotation["video_id"]].append(annotation["segmentations"])
    for video in data["videos"]:
      number, names = video["id"], video["file_names"]
      if not names:
        raise ValueError(f"video {number} has no frames")
      if not all(isinstance(name, str) for name in names):
        raise ValueError(f"video {number}: expected names of frames")
    return data["videos"], objects, len(data.get("categories", ()))
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{path}: expected videos with id and file_names, and annotations with "
      f"video_id and segmentations: {type(error).__name__} {error}"
    ) from error
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
