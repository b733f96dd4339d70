"""Masklets in a folder of PNG images.

Two layouts are read, both written by SAM 2's tool for object segmentation:

  00000.png ...       a frame each, whose pixels are the numbers of objects:
                      0 is none and 255 void, as in DAVIS
  001/00000.png ...   a folder an object, whose masks are 0 where it is not; a
                      frame without a file has no such object

The number of a frame is the name of its file where all names are numbers.
"""

import functools
import pathlib

import numpy as np
from PIL import Image

from trajvit.data.example import BrokenClip
from trajvit.data.masklets.annotation import (
  Annotation,
  is_frame,
  paint_objects,
)
from trajvit.data.masklets.index_image import read_labels
from trajvit.data.video_reader import one_line

_MAX_OBJECT = 254


def read_images(folder: pathlib.Path) -> Annotation:
  """Returns the masklets of a folder, whose images are opened when asked.

  Raises:
    BrokenClip: it is not as above.
  """
  name = str(folder)
  objects = sorted(path for path in folder.iterdir() if path.is_dir())
  flat = {path.stem: path for path in sorted(folder.glob("*.png"))}
  if bool(objects) == bool(flat):
    raise BrokenClip(
      name,
      f"expected images (*.png) or folders of them, got {len(flat)} images "
      f"and {len(objects)} folders",
    )
  if flat:
    names, frames = _ordered(flat)
    read = functools.partial(_read_numbers, flat, names)
    return Annotation(name, frames, len(names), _MAX_OBJECT, read)
  masks = [{p.stem: p for p in x.glob("*.png")} for x in objects]
  names, frames = _ordered(set().union(*masks))
  if not names:
    raise BrokenClip(name, "no image (*.png) in its folders")

  def labels(i):
    paths = [mask.get(names[i]) for mask in masks]
    read = [None if path is None else read_mask(path) for path in paths]
    return paint_objects(name, read, names[i])

  return Annotation(name, frames, len(names), len(objects), labels)


def read_mask(path: pathlib.Path) -> np.ndarray:
  """Returns where an image of one channel is not 0, [H, W] bool.

  Raises:
    BrokenClip: it cannot be read, or its pixels are colours.
  """
  try:
    with Image.open(path) as image:
      if image.mode not in ("1", "L", "P"):
        raise ValueError(f"expected a mask, got an image of mode {image.mode}")
      return np.array(image) != 0
  except (
    OSError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    Image.DecompressionBombError,
  ) as error:
    raise BrokenClip(str(path), one_line(error)) from error


def _read_numbers(paths, names, i) -> np.ndarray:
  return read_labels(paths[names[i]])


def _ordered(stems) -> tuple[list[str], tuple[int, ...] | None]:
  """Returns names of frames in order, and their numbers if they have any."""
  if all(map(is_frame, stems)):
    names = sorted(stems, key=int)
    return names, tuple(map(int, names))
  return sorted(stems), None
