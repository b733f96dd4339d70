"""The masklets of one video, from wherever they are stored."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from trajvit.data.example import BrokenClip
from trajvit.data.extract.link import paint


@dataclasses.dataclass(frozen=True)
class Annotation:
  """Which object owns each pixel, in the annotated frames of a video.

  Attributes:
    name: the file or folder that it is from.
    frames: the number of every annotated frame as the files say it, ascending;
      None where they only tell the order.
    count: n, how many frames are annotated.
    max_objects: how many objects a frame can have.
    labels: i -> [H, W] int, the object of each pixel in annotated frame i, or
      -1; an object keeps its number. It raises BrokenClip for masks that
      cannot be read.
  """

  name: str
  frames: tuple[int, ...] | None
  count: int
  max_objects: int
  labels: Callable[[int], np.ndarray]


def paint_objects(
  name: str, masks: Sequence[np.ndarray | None], frame: object
) -> np.ndarray:
  """Returns the label map of masks that may overlap, the smallest in front.

  Args:
    name: of the annotation, for messages.
    masks: [H, W] bool each, or None for an object that is absent.
    frame: which frame it is, for messages.

  Raises:
    BrokenClip: the masks have several sizes, or there is none at all.
  """
  numbers = [i for i, mask in enumerate(masks) if mask is not None]
  sizes = {masks[i].shape for i in numbers}
  if len(sizes) != 1:
    raise BrokenClip(
      name, f"frame {frame} has masks of the sizes {sorted(sizes)}"
    )
  owner = paint(np.stack([masks[i] for i in numbers]))
  return np.append(numbers, -1)[owner]


def is_frame(name: str) -> bool:
  """Whether a name is the number of a frame."""
  return name.isdecimal() and len(name) < 10


def find_annotation(
  folder: pathlib.Path, stem: pathlib.PurePath, suffix: str | None
) -> pathlib.Path:
  """Returns the JSON file or the folder of PNGs that belongs to a video.

  Args:
    folder: where the annotations are, laid out as the videos.
    stem: path of the video below the root of the videos, without its suffix.
    suffix: what follows the stem in the name; None allows "", "_manual" and
      "_auto", of which there must be one alone.

  Raises:
    BrokenClip: there is none, or there are several.
  """
  suffixes = ("", "_manual", "_auto") if suffix is None else (suffix,)
  names = [folder / f"{stem}{suffix}" for suffix in suffixes]
  files = [path.with_name(f"{path.name}.json") for path in names]
  found = [path for path in files if path.is_file()]
  found += [path for path in names if path.is_dir()]
  if len(found) == 1:
    return found[0]
  if found:
    several = " and ".join(path.name for path in found)
    raise BrokenClip(
      str(folder / stem), f"{several} are there: --suffix chooses one"
    )
  looked = ", ".join(path.name for path in files)
  raise BrokenClip(
    str(folder / stem), f"no {looked} and no folder of such a name"
  )


def frame_numbers(
  annotation: Annotation, num_frames: int, step: int | None
) -> np.ndarray:
  """Returns which frame of the video each annotated one is, [n] ascending.

  Args:
    annotation: of n frames.
    num_frames: how many the video has; if it is n, all are annotated.
    step: annotation i is of frame `i * step`, whatever the files say. Without
      it the files must say it: names from 0 to n - 1 may well be numbers of
      annotations and do not count.

  Raises:
    BrokenClip: it is not known, or a frame is beyond the end of the video.
  """
  count = annotation.count
  if step is not None:
    frames = step * np.arange(count)
  elif count == num_frames:
    frames = np.arange(count)
  elif annotation.frames in (None, tuple(range(count))):
    raise BrokenClip(
      annotation.name,
      f"{count} annotated frames of a video of {num_frames}: --step says how "
      "many frames it is from one to the next, 4 in SA-V",
    )
  else:
    frames = np.array(annotation.frames)
  if frames[-1] >= num_frames or (np.diff(frames) <= 0).any():
    raise BrokenClip(
      annotation.name,
      f"expected ascending frames of a video of {num_frames}, got "
      f"{frames[0]} to {frames[-1]}",
    )
  return frames
