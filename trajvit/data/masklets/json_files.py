"""Masklets in a JSON file: run lengths of every object in every frame.

Two layouts are read:

  {"masklet": [[mask of object 0, mask of object 1, ...], ...]}
      a list of frames, as in SA-V's `_manual.json` and `_auto.json`
      (arXiv:2408.00714); other keys are not read
  {"object": {"frame": mask, ...}, ...}
      objects by name, in the order of the file, and numbers of frames

A mask is `{"size": [H, W], "counts": ...}` as COCO has it, see
`run_length.py`, or null where the object is absent.
"""

import json
import pathlib

import numpy as np

from trajvit.data.example import BrokenClip
from trajvit.data.masklets.annotation import (
  Annotation,
  is_frame,
  paint_objects,
)
from trajvit.data.masklets.run_length import decode_mask


def read_json(path: pathlib.Path) -> Annotation:
  """Returns the masklets of a JSON file, whose masks are decoded when asked.

  Raises:
    BrokenClip: the file cannot be read or is not as above.
  """
  name = str(path)
  try:
    content = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    message = " ".join(str(error).split())
    raise BrokenClip(name, f"expected JSON: {message}") from error
  if not isinstance(content, dict):
    raise BrokenClip(name, "expected an object with masks of objects")
  if "masklet" in content:
    rows, frames = _rows(name, content["masklet"]), None
  else:
    rows, frames = _rows_of_objects(name, content)
  if not rows:
    raise BrokenClip(name, "expected one annotated frame or more, got none")
  shape = _first_size(name, rows)

  def labels(i):
    masks = [_decode(name, frames[i] if frames else i, x) for x in rows[i]]
    if not any(mask is not None for mask in masks):
      return np.full(shape, -1, np.int64)
    return paint_objects(name, masks, frames[i] if frames else i)

  most = max(1, *map(len, rows))
  return Annotation(name, frames, len(rows), most, labels)


def _rows(name, masklet) -> list[list]:
  """Checks a list of frames, each a list of masks."""
  if not isinstance(masklet, list) or not all(
    isinstance(row, list) for row in masklet
  ):
    raise BrokenClip(name, "masklet: expected a list of frames of masks")
  return masklet


def _rows_of_objects(name, objects) -> tuple[list[list], tuple[int, ...]]:
  """Turns objects of frames into frames of objects."""
  tracks = []
  for key, masks in objects.items():
    if not isinstance(masks, dict):
      raise BrokenClip(
        name,
        f"object {key!r}: expected masks by the numbers of their frames",
      )
    wrong = [frame for frame in masks if not is_frame(frame)]
    if wrong:
      raise BrokenClip(
        name,
        f"object {key!r}: expected the number of a frame, got {wrong[0]!r}",
      )
    tracks.append({int(frame): mask for frame, mask in masks.items()})
  frames = tuple(sorted(set().union(*tracks)))
  rows = [[track.get(frame) for track in tracks] for frame in frames]
  return rows, frames


def _first_size(name, rows) -> tuple[int, int]:
  """Returns (H, W) of the first mask, for frames that have none."""
  for row in rows:
    for mask in row:
      if mask is not None:
        return _decode(name, 0, mask).shape
  raise BrokenClip(name, "expected masks, got none")


def _decode(name, frame, mask) -> np.ndarray | None:
  if mask is None:
    return None
  try:
    return decode_mask(mask)
  except (ValueError, TypeError, OverflowError, MemoryError) as error:
    message = " ".join(str(error).split())
    raise BrokenClip(name, f"frame {frame}: {message}") from error
