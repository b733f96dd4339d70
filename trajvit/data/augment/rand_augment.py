"""RandAugment for clips: a few random operations of one strength.

Source: RandAugment, arXiv:1909.13719, with the ranges of AutoAugment,
arXiv:1805.09501. Operations and signs are drawn once for all frames, whatever
an operation measures is measured on the whole clip, and those that move the
picture move the tracks.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import ImageEnhance

from trajvit.data.augment import color_maps, warp
from trajvit.data.augment.footage import Footage, map_frames
from trajvit.data.augment.ranges import check_integer, check_number

STRONGEST = 10
_LEVELS = np.arange(256)


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
    check_integer("rand_augment.n", self.n, 1, 100)
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
  return color_maps.map_colors(
    frames, color_maps.brightness(_factor(strength, sign))
  )


def _color(frames, strength, sign):
  return color_maps.map_colors(
    frames, color_maps.saturation(_factor(strength, sign))
  )


def _contrast(frames, strength, sign):
  level = color_maps.luma(color_maps.IDENTITY, color_maps.mean_color(frames))
  contrast = color_maps.contrast(_factor(strength, sign), level)
  return color_maps.map_colors(frames, contrast)


def _sharpness(frames, strength, sign):
  factor = _factor(strength, sign)
  return map_frames(
    frames, lambda image: ImageEnhance.Sharpness(image).enhance(factor)
  )


def _factor(strength, sign) -> float:
  return 1 + 0.9 * strength * sign


def _auto_contrast(frames, strength, sign):
  del strength, sign
  curves = [_stretching(counts) for counts in color_maps.histogram(frames)]
  return color_maps.map_levels(frames, np.array(curves))


def _stretching(counts):
  """The curve [256] after which the levels that occur reach from 0 to 255."""
  first, last = np.flatnonzero(counts)[[0, -1]]
  if first == last:
    return _LEVELS
  scale = 255.0 / (last - first)
  return np.clip(_LEVELS * scale - first * scale, 0, 255).astype(int)


def _equalize(frames, strength, sign):
  del strength, sign
  curves = [_equalizing(counts) for counts in color_maps.histogram(frames)]
  return color_maps.map_levels(frames, np.array(curves))


def _equalizing(counts):
  """The curve [256] after which levels are as frequent as can be."""
  last = np.flatnonzero(counts)[-1]
  step = (counts.sum() - counts[last]) // 255
  if not step:
    return _LEVELS
  below = np.cumsum(counts) - counts
  return np.minimum((step // 2 + below) // step, 255)


def _posterize(frames, strength, sign):
  del sign
  dropped = round(4 * strength)  # bits
  return color_maps.map_levels(
    frames, np.tile(_LEVELS >> dropped << dropped, 3)
  )


def _solarize(frames, strength, sign):
  del sign
  curve = _LEVELS.copy()
  first = int(np.ceil(256 * (1 - strength)))
  curve[first:] = 255 - curve[first:]
  return color_maps.map_levels(frames, np.tile(curve, 3))


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
