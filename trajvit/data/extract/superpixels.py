"""Superpixels of every frame of a clip, and how their pixels look."""

import cv2
import numpy as np
from skimage.segmentation import slic

_PIXELS = 40  # of a superpixel in a small frame
_MAX_COUNT = 160  # superpixels of a large frame
_COMPACTNESS = 10.0  # SLIC's trade of colour against place, in CIELAB units
_LIGHTNESS_WEIGHT = 0.4
_CHROMA_WEIGHT = 40.0
_CHROMA_OFFSET = 30.0  # keeps the noise of dark pixels out of their chroma


def superpixels(frames: np.ndarray) -> tuple[np.ndarray, int]:
  """Returns connected, compact pieces of nearly one colour, frame by frame.

  Source: SLIC, Achanta et al., 2012.

  Args:
    frames: [T, H, W, 3] uint8 RGB.

  Returns:
    ids: [T, H, W] int64; an id belongs to one frame, none is left out.
    count: the number of ids.
  """
  ids = np.empty(frames.shape[:3], np.int64)
  count = 0
  for t, frame in enumerate(frames):
    pieces = slic(
      frame,
      n_segments=superpixel_count(*frame.shape[:2]),
      compactness=_COMPACTNESS,
      max_num_iter=5,
      start_label=0,
      channel_axis=-1,
    )
    ids[t] = pieces + count
    count += int(pieces.max()) + 1
  return ids, count


def superpixel_count(height: int, width: int) -> int:
  """About how many superpixels a frame of this size has."""
  return max(1, min(_MAX_COUNT, height * width // _PIXELS))


def appearance(frames: np.ndarray) -> np.ndarray:
  """Returns what pixels are compared by, with little regard for shading.

  log(R/G) and log(B/G) do not change when a colour gets darker, so the stripes
  of a red thing and its shaded side remain red; lightness counts a little.
  Frames are smoothed by a sixth of a superpixel, which blends fine patterns.

  Args:
    frames: [T, H, W, 3] uint8 RGB.

  Returns:
    [T, H, W, 3] float32, lightness and two chroma values, in units of which
    one is hardly seen and ten are a difference.
  """
  height, width = frames.shape[1:3]
  side = np.sqrt(height * width / superpixel_count(height, width))
  out = np.empty(frames.shape, np.float32)
  for t, frame in enumerate(frames):
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), side / 6)
    lab = cv2.cvtColor(smooth / 255, cv2.COLOR_RGB2LAB)
    red, green, blue = np.moveaxis(np.log(smooth + _CHROMA_OFFSET), -1, 0)
    out[t, ..., 0] = _LIGHTNESS_WEIGHT * lab[..., 0]
    out[t, ..., 1] = _CHROMA_WEIGHT * (red - green)
    out[t, ..., 2] = _CHROMA_WEIGHT * (blue - green)
  return out
