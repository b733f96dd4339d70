"""Pictures of tracks drawn over the frames of a clip."""

import colorsys
import os
from typing import BinaryIO

import numpy as np
from PIL import Image

_GOLDEN_RATIO = (np.sqrt(5) - 1) / 2
_OPACITY = 0.5
_SHOWN_SIDE = 192  # pixels that a picture's frames have at least


def track_colors(count: int) -> np.ndarray:
  """Returns [count, 3] uint8, a colour a track that depends on its label only.

  Hues step by the golden ratio, so labels near each other look different.
  """
  colors = [
    colorsys.hsv_to_rgb(
      (i * _GOLDEN_RATIO) % 1, (0.95, 0.6, 0.8)[i % 3], (1.0, 0.95, 0.7)[i % 3]
    )
    for i in range(count)
  ]
  return np.rint(np.reshape(colors, (count, 3)) * 255).astype(np.uint8)


def draw_tracks(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns frames with every track tinted in its colour and outlined.

  Args:
    frames: [T, H, W, 3] uint8 RGB.
    labels: [T, h, w] int32, the track of each cell or -1, which stays as it
      is; enlarged to the frames, each cell a rectangle.

  Returns:
    [T, H, W, 3] uint8.

  Raises:
    ValueError: shapes that do not belong together.
  """
  if frames.ndim != 4 or labels.ndim != 3 or len(frames) != len(labels):
    raise ValueError(
      "expected frames [T, H, W, 3] and labels [T, h, w], "
      f"got {frames.shape} and {labels.shape}"
    )
  labels = _enlarge(labels, frames.shape[1:3])
  colors = track_colors(int(labels.max(initial=-1)) + 1)
  tinted = frames.astype(np.float32)
  inside = labels >= 0
  tinted[inside] += _OPACITY * (colors[labels[inside]] - tinted[inside])
  tinted[_outlines(labels)] = 255
  return np.rint(tinted).astype(np.uint8)


def overlay_strip(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns `draw_tracks` with the frames side by side: [H, T * W, 3] uint8."""
  return np.concatenate(list(draw_tracks(frames, labels)), axis=1)


def save_strip(
  path: str | os.PathLike | BinaryIO,
  frames: np.ndarray,
  labels: np.ndarray,
  *,
  columns: int = 8,
) -> None:
  """Writes a PNG: frames in a row, below them the same with tracks.

  Of more than `columns` frames it shows so many, evenly spaced.
  """
  shown = evenly_spaced(len(frames), columns)
  frames, labels = legible(frames[shown]), labels[shown]
  plain = np.concatenate(list(frames), axis=1)
  strip = np.concatenate([plain, overlay_strip(frames, labels)], axis=0)
  Image.fromarray(strip).save(path, format="png")


def save_gif(
  path: str | os.PathLike,
  frames: np.ndarray,
  labels: np.ndarray,
  *,
  fps: float = 8,
) -> None:
  """Writes an endless GIF: the clip, and beside it the same with tracks."""
  frames = legible(frames)
  pairs = np.concatenate([frames, draw_tracks(frames, labels)], axis=2)
  save_animation(path, pairs, fps=fps)


def save_animation(
  path: str | os.PathLike | BinaryIO, pictures: np.ndarray, *, fps: float = 8
) -> None:
  """Writes an endless GIF of [T, H, W, 3] uint8 pictures to a file."""
  pictures = [Image.fromarray(picture) for picture in pictures]
  pictures[0].save(
    path,
    format="gif",
    save_all=True,
    append_images=pictures[1:],
    duration=round(1000 / fps),
    loop=0,
  )


def evenly_spaced(count: int, most: int) -> np.ndarray:
  """Returns up to `most` of `count` indices, the first and the last included.

  Returns:
    [min(count, most)] int64, ascending.
  """
  spaced = np.linspace(0, count - 1, min(most, count))
  return np.rint(spaced).astype(np.int64)


def legible(frames: np.ndarray) -> np.ndarray:
  """Returns [T, H, W, 3] frames, small ones enlarged by a whole factor.

  Outlines are a pixel wide, which is too much of a small frame.
  """
  factor = -(-_SHOWN_SIDE // min(frames.shape[1:3]))
  return _enlarge(frames, (frames.shape[1] * factor, frames.shape[2] * factor))


def _enlarge(array, size) -> np.ndarray:
  """Samples [T, h, w, ...] at the centres of `size` cells, the nearest."""
  rows, columns = (
    (2 * np.arange(new) + 1) * old // (2 * new)
    for new, old in zip(size, array.shape[1:3], strict=True)
  )
  return array[:, rows[:, None], columns]


def _outlines(labels) -> np.ndarray:
  """Where the pixel to the right or below has another label: [T, H, W]."""
  edge = np.zeros(labels.shape, bool)
  edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
  edge[:, :, :-1] |= labels[:, :, :-1] != labels[:, :, 1:]
  return edge
