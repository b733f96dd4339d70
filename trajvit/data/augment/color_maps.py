"""Colours of a whole clip at once: affine maps of RGB, and curves.

All frames get the same map, and what a map takes from the pixels, such as
their mean, is taken from all frames together: a still clip stays still, and
what brightens over time goes on doing so.
"""

import math

import numpy as np
from PIL import Image

from trajvit.data.augment.footage import map_frames

_GREY = np.array([0.299, 0.587, 0.114])  # luma, ITU-R BT.601
_YIQ = np.array(
  [_GREY, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
IDENTITY = np.eye(4)


def brightness(factor: float) -> np.ndarray:
  """Returns the map [4, 4] that scales all channels; 0 is black."""
  return np.diag([factor, factor, factor, 1.0])


def contrast(factor: float, level: float) -> np.ndarray:
  """Returns the map [4, 4] that scales differences from a grey of `level`."""
  colors = brightness(factor)
  colors[:3, 3] = (1 - factor) * level
  return colors


def saturation(factor: float) -> np.ndarray:
  """Returns the map [4, 4] that scales differences from grey; 0 is grey."""
  colors = np.eye(4)
  colors[:3, :3] = factor * np.eye(3) + (1 - factor) * _GREY
  return colors


def hue(turn: float) -> np.ndarray:
  """Returns the map [4, 4] that turns colours about the axis of greys.

  A turn is 1 for the full circle, in the YIQ space: grey and luma stay, and it
  costs one product, a tenth of the way through HSV that others take.
  """
  angle = 2 * math.pi * turn
  cos, sin = math.cos(angle), math.sin(angle)
  rotation = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
  colors = np.eye(4)
  colors[:3, :3] = np.linalg.inv(_YIQ) @ rotation @ _YIQ
  return colors


def luma(colors: np.ndarray, mean: np.ndarray) -> float:
  """Returns the grey level, after a map [4, 4], of the mean colour [3]."""
  return float(_GREY @ (colors @ np.append(mean, 1.0))[:3])


def mean_color(frames: np.ndarray) -> np.ndarray:
  """Returns the mean of frames [T, H, W, 3] uint8 as [3] float64 in 0..255."""
  rows = frames.reshape(-1, frames.shape[2] * 3)
  total = rows.sum(0, dtype=np.uint64).reshape(-1, 3).sum(0)
  return total / (frames.size / 3)


def histogram(frames: np.ndarray) -> np.ndarray:
  """Returns how often each level is in each channel, [3, 256] int64."""
  counts = np.zeros(3 * 256, np.int64)
  for frame in frames:
    counts += Image.fromarray(frame).histogram()
  return counts.reshape(3, 256)


def map_colors(frames: np.ndarray, colors: np.ndarray) -> np.ndarray:
  """Returns frames [T, H, W, 3] uint8 under a map [4, 4], rounded and cut."""
  matrix = colors[:3].ravel().tolist()
  return map_frames(frames, lambda image: image.convert("RGB", matrix))


def map_levels(frames: np.ndarray, curves: np.ndarray) -> np.ndarray:
  """Returns frames [T, H, W, 3] uint8 under curves [3, 256] of integers."""
  levels = curves.ravel().tolist()
  return map_frames(frames, lambda image: image.point(levels))
