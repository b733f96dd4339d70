"""Annotation images: a PNG whose pixels are the numbers of objects."""

import os

import numpy as np
from PIL import Image

from trajvit.data.example import BrokenClip
from trajvit.data.video_reader import one_line

BACKGROUND, VOID = 0, 255


def read_labels(path: str | os.PathLike) -> np.ndarray:
  """Returns the objects of an annotation image.

  Pillow, which reads it, comes with matplotlib and already reads all images.

  Args:
    path: an image with a palette, whose colours mean nothing, or a grey one.

  Returns:
    [H, W] int32, the pixel's number less 1: objects count from 0, and both the
    background 0 and the void 255, where annotators were unsure, are -1.

  Raises:
    BrokenClip: it cannot be read, or its pixels are colours.
  """
  try:
    with Image.open(path) as image:
      if image.mode not in ("P", "L"):
        raise ValueError(
          f"expected a palette or grey image of numbers, got mode {image.mode}"
        )
      numbers = np.array(image)  # [H, W] uint8
  except (
    OSError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    Image.DecompressionBombError,
  ) as error:
    raise BrokenClip(os.fspath(path), one_line(error)) from error
  labels = numbers.astype(np.int32) - 1
  labels[(numbers == BACKGROUND) | (numbers == VOID)] = -1
  return labels
