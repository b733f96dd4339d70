"""Resize, crop and flip: one view of a clip, for frames and tracks together.

A `View` is which part of the picture is seen and whether mirrored; training may
draw it. `apply_view` then makes the frames and the track label map of it.
Since one view serves all frames and both arrays, a track stays on its object.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from trajvit.data.tracks import compact_tracks
from trajvit.table import Table


@dataclasses.dataclass(frozen=True)
class View:
  """A rectangle of the picture, in its pixels, mirrored or not."""

  top: int
  left: int
  height: int
  width: int
  flip: bool = False


def whole(
  height: int, width: int, rng: np.random.Generator | None = None
) -> View:
  """The whole picture, squeezed into the square: TrajViT's evaluation."""
  del rng
  return View(0, 0, height, width)


def center_crop(
  height: int, width: int, rng: np.random.Generator | None = None
) -> View:
  """The largest square in the middle: shorter side to size, then crop."""
  del rng
  side = min(height, width)
  return View((height - side) // 2, (width - side) // 2, side, side)


def square_at(height: int, width: int, place: float) -> View:
  """The largest square at `place` in [0, 1] along the longer side."""
  side = min(height, width)
  top, left = (round((x - side) * place) for x in (height, width))
  return View(top, left, side, side)


def crop_flip(
  height: int,
  width: int,
  rng: np.random.Generator | None = None,
  scale: tuple[float, float] = (0.2, 1.0),
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> View:
  """A random rectangle, mirrored half of the time; all of it without `rng`.

  Inception's crop (arXiv:1409.4842): area uniform in `scale` of the picture,
  width over height log-uniform in `ratio`. After ten draws that do not fit, the
  largest rectangle in the middle whose shape is within `ratio`.
  """
  if rng is None:
    return whole(height, width)
  flip = bool(rng.random() < 0.5)
  for _ in range(10):
    area = height * width * rng.uniform(*scale)
    shape = math.exp(rng.uniform(*map(math.log, ratio)))
    h, w = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
    if 0 < h <= height and 0 < w <= width:
      top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
      return View(int(top), int(left), h, w, flip)
  h = min(height, max(1, round(width / ratio[0])))
  w = min(width, max(1, round(height * ratio[1])))
  return View((height - h) // 2, (width - w) // 2, h, w, flip)


VIEWS = Table(
  "view",
  {"none": whole, "center_crop": center_crop, "crop_flip": crop_flip},
)


def decoded_size(height: int, width: int, size: int) -> tuple[int, int]:
  """Returns (height, width) to decode a picture to, for clips of side `size`.

  The shorter side is at most twice as long: a crop then loses little.
  """
  scale = min(1, 2 * size / min(height, width))
  return round(height * scale), round(width * scale)


def apply_view(
  view: View,
  frames: np.ndarray,
  tracks: np.ndarray | None,
  *,
  size: int,
  track_grid: int,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns what a view shows of a clip.

  Args:
    view: a rectangle inside `frames`.
    frames: [T, H, W, 3] uint8.
    tracks: [T, H', W'] int32 label map of the same picture at any resolution,
      or None.
    size: side of the new frames, in pixels.
    track_grid: side of the new label map, in cells.

  Returns:
    frames: [T, size, size, 3] uint8, bilinear and antialiased.
    tracks: [T, track_grid, track_grid] int32 or None: each cell has the label
      at its top left corner (nearest without half-pixel centres, source index
      floor(i * in / out), as label maps are shrunk by PyTorch and OpenCV).
      Tracks that are not seen are gone and the others renumbered 0..n-1.
  """
  rows = slice(view.top, view.top + view.height)
  columns = slice(view.left, view.left + view.width)
  frames_out = np.empty((len(frames), size, size, 3), np.uint8)
  for out, frame in zip(frames_out, frames, strict=True):
    image = Image.fromarray(np.ascontiguousarray(frame[rows, columns]))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    if view.flip:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    out[...] = image
  if tracks is None:
    return frames_out, None

  height, width = frames.shape[1:3]
  y = nearest_indices(
    tracks.shape[1], track_grid, (view.top, view.height, height)
  )
  x = nearest_indices(
    tracks.shape[2], track_grid, (view.left, view.width, width), view.flip
  )
  return frames_out, compact_tracks(tracks[:, y[:, None], x])


def nearest_indices(
  source: int,
  target: int,
  crop: tuple[int, int, int] = (0, 1, 1),
  flip: bool = False,
) -> np.ndarray:
  """Returns which of `source` cells each of `target` cells shows.

  Args:
    source: cells along the axis before.
    target: cells along it after.
    crop: (start, length, whole): the part of the axis that is seen, in units
      of which the axis has `whole`.
    flip: mirror the axis after the crop.

  Returns:
    [target] int64: floor(i * source / target) without a crop. All arithmetic
    is on whole numbers, so equal fractions give equal cells.
  """
  start, length, whole_axis = crop
  i = np.arange(target)
  if not flip:
    return source * (start * target + i * length) // (whole_axis * target)
  # The mirror image of floor(x) is ceil(x) - 1.
  end = source * ((start + length) * target - i * length)
  return (end - 1) // (whole_axis * target)
