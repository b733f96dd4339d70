"""Sheets and animations: one clip in several renderings, each captioned."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trajvit.data.overlay import evenly_spaced
from trajvit.evaluators.pairing import best_pairs
from trajvit.evaluators.tubes import overlaps

_MARGIN, _GAP, _CAPTION = 14, 4, 40  # pixels
_TITLE, _DETAIL = 17, 13  # pixels a line of text is high
_BLACK, _GREY, _WHITE = (20, 20, 20), (110, 110, 110), (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Panel:
  """A clip as one of the renderings shows it.

  Attributes:
    title: what is shown, a few words.
    detail: a smaller line below the title.
    frames: [T, H, W, 3] uint8; all panels of a picture have one shape.
  """

  title: str
  detail: str
  frames: np.ndarray


def sheet(panels: Sequence[Panel], *, columns: int = 8) -> np.ndarray:
  """Returns a picture with a row a panel: [height, width, 3] uint8.

  Of more than `columns` frames it shows so many, evenly spaced.
  """
  shown = evenly_spaced(len(panels[0].frames), columns)
  rows = [_captioned(panel, shown) for panel in panels]
  return _framed(np.concatenate(_spaced(rows, 2 * _GAP, axis=0), axis=0))


def animation(panels: Sequence[Panel]) -> np.ndarray:
  """Returns the panels side by side at every time: [T, height, width, 3] uint8.

  A caption that is wider than a frame is cut off.
  """
  times = range(len(panels[0].frames))
  return np.stack(
    [
      _framed(
        np.concatenate(
          _spaced([_captioned(panel, [t]) for panel in panels], _GAP, axis=1),
          axis=1,
        )
      )
      for t in times
    ]
  )


def stamped(frames: np.ndarray, texts: Sequence[str]) -> np.ndarray:
  """Returns [T, H, W, 3] uint8 frames with a text in the corner of each."""
  pictures = [Image.fromarray(frame) for frame in frames]
  for picture, text in zip(pictures, texts, strict=True):
    draw = ImageDraw.Draw(picture)
    place = dict(xy=(6, picture.height - 5), anchor="ls", font=_font(_DETAIL))
    left, top, right, bottom = draw.textbbox(text=text, **place)
    draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=_BLACK)
    draw.text(text=text, fill=_WHITE, **place)
  return np.stack([np.asarray(picture) for picture in pictures])


def gray(frames: np.ndarray) -> np.ndarray:
  """Returns [T, H, W, 3] uint8 frames without their colours.

  A tint over them looks the same whatever colour lay below.
  """
  luma = frames @ np.array([0.299, 0.587, 0.114], np.float32)  # of BT.601
  return np.repeat(np.rint(luma).astype(np.uint8)[..., None], 3, axis=-1)


def match_labels(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Renames labels so that regions which overlap are drawn in one colour.

  A colour depends on the label alone. Regions are paired one to one, for the
  largest sum of IoUs over the clip; a pair without a common cell is none.

  Args:
    labels: [T, h, w] integers, negative = none.
    reference: [T, H, W] integers, negative = none; the grids may differ.

  Returns:
    [T, h, w] int64: a paired region has the label of its partner, the others
    have labels that `reference` does not use, -1 stays.

  Raises:
    ValueError: not label maps of equally many frames.
  """
  found = overlaps(labels, reference)
  intersection, union = found.volumes()
  rows, columns = best_pairs(-intersection / np.maximum(union, 1))
  common = intersection[rows, columns] > 0
  partner = dict(
    zip(
      found.predicted_labels[rows[common]].tolist(),
      found.truth_labels[columns[common]].tolist(),
      strict=True,
    )
  )
  fresh = int(reference.max()) + 1
  renamed = np.full(labels.shape, -1, np.int64)
  for label in np.unique(labels[labels >= 0]).tolist():
    if label not in partner:
      partner[label], fresh = fresh, fresh + 1
    renamed[labels == label] = partner[label]
  return renamed


def _captioned(panel: Panel, shown) -> np.ndarray:
  """The frames `shown` side by side, title and detail above them."""
  strip = np.concatenate(_spaced(panel.frames[shown], _GAP, axis=1), axis=1)
  caption = Image.new("RGB", (strip.shape[1], _CAPTION), _WHITE)
  draw = ImageDraw.Draw(caption)
  for text, bottom, size, color in (
    (panel.title, _TITLE, _TITLE, _BLACK),
    (panel.detail, _CAPTION - 7, _DETAIL, _GREY),
  ):
    draw.text((0, bottom), text, fill=color, font=_font(size), anchor="ls")
  return np.concatenate([np.asarray(caption), strip], axis=0)


def _spaced(pictures, gap: int, *, axis: int) -> list[np.ndarray]:
  """The pictures with a white one of `gap` pixels between each two."""
  size = list(pictures[0].shape)
  size[axis] = gap
  between = np.full(size, 255, np.uint8)
  spaced = [part for picture in pictures for part in (between, picture)]
  return spaced[1:]


def _framed(picture: np.ndarray) -> np.ndarray:
  margins = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
  return np.pad(picture, margins, constant_values=255)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
  return ImageFont.load_default(size)
