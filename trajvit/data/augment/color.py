"""Jitter of colours, grayscale and blur, as TrajViT trains with."""

import dataclasses

import numpy as np

from trajvit.data.augment import color_maps
from trajvit.data.augment.footage import Footage
from trajvit.data.augment.ranges import check_integer, check_number, check_range

_ONE = 256  # the sum of a blur's weights


@dataclasses.dataclass(frozen=True)
class Color:
  """Jitters brightness, contrast, saturation and hue; or makes a clip grey.

  Brightness, contrast and saturation are scaled by a factor uniform in 1 - x to
  1 + x, in random order; the defaults are those of TrajViT (arXiv:2505.23617).
  Contrast is about the mean of the whole clip, values are cut to 0..255 once at
  the end, and hue is turned in YIQ, see `color_maps`.

  Attributes:
    brightness: x of the factor, in [0, 1].
    contrast: likewise.
    saturation: likewise.
    hue: the largest turn to either side, in [0, 0.5] of the circle.
    p: share of the clips that are jittered.
    grayscale: share of the clips that lose all colour.
  """

  brightness: float = 0.4
  contrast: float = 0.4
  saturation: float = 0.4
  hue: float = 0.1
  p: float = 0.6
  grayscale: float = 0.2

  def __post_init__(self):
    for name, value in vars(self).items():
      check_number(f"color.{name}", value, 0, 0.5 if name == "hue" else 1)

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """See Step; only frames change."""
    jitter, grey = rng.random(2) < (self.p, self.grayscale)
    spread = np.array([self.brightness, self.contrast, self.saturation])
    factors = 1 + spread * rng.uniform(-1, 1, 3)
    turn = self.hue * rng.uniform(-1, 1)
    order = rng.permutation(4)
    if not jitter and not grey:
      return footage
    total = color_maps.IDENTITY
    if jitter:
      mean = color_maps.mean_color(footage.frames)
      for kind in order:
        step = (
          color_maps.brightness(factors[0]),
          color_maps.contrast(factors[1], color_maps.luma(total, mean)),
          color_maps.saturation(factors[2]),
          color_maps.hue(turn),
        )[kind]
        total = step @ total
    if grey:
      total = color_maps.saturation(0.0) @ total
    frames = color_maps.map_colors(footage.frames, total)
    return dataclasses.replace(footage, frames=frames)


@dataclasses.dataclass(frozen=True)
class Blur:
  """Blurs all frames of a clip by one Gaussian.

  Attributes:
    sigma: the least and largest standard deviation, in pixels; it is uniform
      between them.
    kernel: how many pixels along an axis are averaged, odd; the weights beyond
      are left out. The picture is mirrored at its border.
    p: share of the clips that are blurred.
  """

  sigma: tuple[float, float] = (0.1, 2.0)
  kernel: int = 5
  p: float = 0.5

  def __post_init__(self):
    check_range("blur.sigma", self.sigma, 1e-3, 100.0)
    check_integer("blur.kernel", self.kernel, 1, 63)
    if self.kernel % 2 != 1:
      raise ValueError(f"blur.kernel must be odd, got {self.kernel}")
    check_number("blur.p", self.p, 0, 1)

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """See Step; only frames change."""
    skip, sigma = rng.random() >= self.p, rng.uniform(*self.sigma)
    if skip:
      return footage
    weights = gaussian_weights(sigma, self.kernel // 2)
    frames = np.empty_like(footage.frames)
    for out, frame in zip(frames, footage.frames, strict=True):
      out[...] = _smooth(_smooth(frame, weights, 0), weights, 1)
    return dataclasses.replace(footage, frames=frames)


def gaussian_weights(sigma: float, radius: int) -> np.ndarray:
  """Returns the middle weight of a Gaussian and those to one of its sides.

  Args:
    sigma: standard deviation.
    radius: how many there are on a side.

  Returns:
    [radius + 1] uint16; the middle one and twice the others make 256.
  """
  weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
  weights /= weights[0] + 2 * weights[1:].sum()
  parts = np.round(_ONE * weights)
  parts[0] = _ONE - 2 * parts[1:].sum()
  return parts.astype(np.uint16)


def _smooth(frame: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
  """Returns [H, W, 3] uint8 averaged along an axis; sums stay within uint16."""
  radius, length = len(weights) - 1, frame.shape[axis]
  pad = [(0, 0)] * 3
  pad[axis] = radius, radius
  frame = np.pad(frame, pad, mode="symmetric")

  def shifted(by):
    index = [slice(None)] * 3
    index[axis] = slice(radius + by, radius + by + length)
    return frame[tuple(index)]

  total = shifted(0) * weights[0]
  total += np.uint16(_ONE // 2)
  for by in range(1, radius + 1):
    both = shifted(by) + shifted(-by).astype(np.uint16)
    both *= weights[by]
    total += both
  return (total >> 8).astype(np.uint8)
