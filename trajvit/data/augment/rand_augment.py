"""RandAugment for clips: a few random operations of one strength.

Source: RandAugment, arXiv:1909.13719, with the ranges of AutoAugment,
arXiv:1805.09501. Operations and signs are drawn once for all frames, whatever
an operation measures is measured on the whole clip, and those that move the
picture move the tracks.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from trajvit.data.augment import colors, warp
from trajvit.data.augment.footage import Footage
from trajvit.data.augment.ranges import check_number

STRONGEST = 10


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Applies n random operations of one magnitude, one after the other.

  Attributes:
    n: how many, drawn with replacement from `OPERATIONS`.
    magnitude: their strength, from 0 to 10. Sharpness, colour, contrast and
      brightness grow away from the picture as it was, to either side.
  """

  n: int = 2
  magnitude: float = 9

  def __post_init__(self):
    check_number("rand_augment.n", self.n, 1, 100)
    check_number("rand_augment.magnitude", self.magnitude, 0, STRONGEST)

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """See Step; frames and tracks change."""
    names = rng.choice(sorted(OPERATIONS), self.n)
    signs = rng.choice([-1, 1], self.n)
    for name, sign in zip(names, signs, strict=True):
      footage = OPERATIONS[name](footage, self.magnitude / STRONGEST, sign)
    return footage


def _of_frames(function: Callable) -> Callable:
  """Makes an operation of `function(frames, strength, sign) -> frames`."""

  def operation(footage, strength, sign):
    frames = function(footage.frames, strength, sign)
    return dataclasses.replace(footage, frames=frames)

  return operation


def _brightness(frames, strength, sign):
  return colors.map_colors(frames, colors.brightness(_factor(strength, sign)))


def _color(frames, strength, sign):
  return colors.map_colors(frames, colors.saturation(_factor(strength, sign)))


def _contrast(frames, strength, sign):
  level = colors.luma(colors.IDENTITY, colors.mean_color(frames))
  contrast = colors.contrast(_factor(strength, sign), level)
  return colors.map_colors(frames, contrast)


def _sharpness(frames, strength, sign):
  factor = _factor(strength, sign)
  sharpened = [
    ImageEnhance.Sharpness(Image.fromarray(frame)).enhance(factor)
    for frame in frames
  ]
  return np.stack(list(map(np.asarray, sharpened)))


def _factor(strength, sign) -> float:
  return 1 + 0.9 * strength * sign


def _auto_contrast(frames, strength, sign):
  del strength, sign
  image = ImageOps.autocontrast(colors.tall_image(frames))
  return colors.as_frames(image, frames)


def _equalize(frames, strength, sign):
  del strength, sign
  image = ImageOps.equalize(colors.tall_image(frames))
  return colors.as_frames(image, frames)


def _posterize(frames, strength, sign):
  del sign
  dropped = round(4 * strength)  # bits
  curve = [x >> dropped << dropped for x in range(256)]
  return colors.map_levels(frames, curve)


def _solarize(frames, strength, sign):
  del sign
  threshold = 256 * (1 - strength)
  curve = [x if x < threshold else 255 - x for x in range(256)]
  return colors.map_levels(frames, curve)


def _identity(footage, strength, sign):
  del strength, sign
  return footage


def _rotate(footage, strength, sign):
  return warp.warp(footage, warp.rotation(30 * strength * sign))


def _shear_x(footage, strength, sign):
  return warp.warp(footage, warp.shear(x=0.3 * strength * sign))


def _shear_y(footage, strength, sign):
  return warp.warp(footage, warp.shear(y=0.3 * strength * sign))


def _translate_x(footage, strength, sign):
  return warp.warp(footage, warp.translation(x=150 / 331 * strength * sign))


def _translate_y(footage, strength, sign):
  return warp.warp(footage, warp.translation(y=150 / 331 * strength * sign))


# name -> (footage, strength in [0, 1], sign of 1 or -1) -> footage
OPERATIONS = {
  "auto_contrast": _of_frames(_auto_contrast),
  "brightness": _of_frames(_brightness),
  "color": _of_frames(_color),
  "contrast": _of_frames(_contrast),
  "equalize": _of_frames(_equalize),
  "identity": _identity,
  "posterize": _of_frames(_posterize),
  "rotate": _rotate,
  "sharpness": _of_frames(_sharpness),
  "shear_x": _shear_x,
  "shear_y": _shear_y,
  "solarize": _of_frames(_solarize),
  "translate_x": _translate_x,
  "translate_y": _translate_y,
}
