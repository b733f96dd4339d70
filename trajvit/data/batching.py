"""Rows to batches: the one place where NumPy examples are stacked."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trajvit.data.example import ClipSpec, Example
from trajvit.types import Batch, Clip, Text


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a batch, on its way from the thread that read it.

  Attributes:
    example: the clip, or None where there is none.
    text: ids and mask, [L] or [C, L] each, or None.
    skipped: (name, reason) of the clips that could not be read for this row.
    captions_cut: captions that did not fit into C.
    captions_shortened: captions whose end did not fit into L.
    position: of a training example, see `data.order`.
  """

  example: Example | None
  text: tuple[np.ndarray, np.ndarray] | None = None
  skipped: tuple[tuple[str, str], ...] = ()
  captions_cut: int = 0
  captions_shortened: int = 0
  position: int = -1


@dataclasses.dataclass(frozen=True)
class BatchInfo:
  """What a person wants to know of a batch and a model does not.

  Attributes:
    names: of the clips, one a row; "" for a row without a clip.
    skipped: (name, reason) of the clips that could not be read.
    dropped_tracks: tracks that did not fit into M, all clips together.
    captions_cut: captions that did not fit into C, likewise.
    captions_shortened: captions whose end did not fit into L, likewise.
    labels: all classes of each clip, of data where one may have several; () for
      a row without a clip.
  """

  names: tuple[str, ...]
  skipped: tuple[tuple[str, str], ...]
  dropped_tracks: int
  captions_cut: int = 0
  captions_shortened: int = 0
  labels: tuple[tuple[int, ...], ...] = ()


def check_example(example: Example, clip: ClipSpec) -> None:
  """Raises ValueError, naming the clip, if `example` is not as `clip` says."""
  grid = (clip.frames, clip.track_grid, clip.track_grid)
  expected = {
    "frames": (np.uint8, (clip.frames, clip.size, clip.size, 3)),
    "times": (np.float32, (clip.frames,)),
    "tracks": (np.int32, grid),
    "frame_mask": (np.bool_, (clip.frames,)),
  }
  for field, (dtype, shape) in expected.items():
    array = getattr(example, field)
    if array is None and field in ("tracks", "frame_mask"):
      continue
    if array.dtype != dtype or array.shape != shape:
      raise ValueError(
        f"{example.name}: {field} must be {np.dtype(dtype)} {shape}, got "
        f"{array.dtype} {array.shape}"
      )


def blank_example(clip: ClipSpec, *, tracks: bool) -> Example:
  """Returns what stands in a row that has no clip: zeros, no track, no id."""
  grid = (clip.frames, clip.track_grid, clip.track_grid)
  return Example(
    frames=np.zeros((clip.frames, clip.size, clip.size, 3), np.uint8),
    times=np.zeros(clip.frames, np.float32),
    tracks=np.full(grid, -1, np.int32) if tracks else None,
    captions=(),
    clip_id=-1,
    label=-1,
    name="",
  )


def stack(rows: Sequence[Row], blank: Example, *, fill: bool) -> Batch:
  """Returns the batch of B rows.

  Args:
    rows: at least one; all have text or none has; all examples have tracks, as
      `blank` has them, or none has.
    blank: takes the place of an example that is None.
    fill: whether rows may be without an example, and `valid` tells.

  Returns:
    A Batch of NumPy arrays; `text` is [B, L] or [B, C, L], `valid` None without
    `fill`; there is no layout yet.
  """
  examples = [row.example or blank for row in rows]
  frames = np.stack([x.frames for x in examples])  # [B, T, H, W, 3]
  frame_mask = np.ones(frames.shape[:2], bool)
  for real, example in zip(frame_mask, examples, strict=True):
    if example.frame_mask is not None:
      real[:] = example.frame_mask
  tracks = text = valid = None
  if blank.tracks is not None:
    tracks = np.stack([x.tracks for x in examples])  # [B, T, h, w]
  if rows[0].text is not None:
    ids, mask = zip(*(row.text for row in rows), strict=True)
    text = Text(ids=np.stack(ids), mask=np.stack(mask))
  if fill:
    valid = np.array([row.example is not None for row in rows])
  return Batch(
    clip=Clip(
      frames=frames,
      frame_mask=frame_mask,
      times=np.stack([x.times for x in examples]),
      tracks=tracks,
    ),
    text=text,
    clip_id=np.array([x.clip_id for x in examples], np.int32),
    label=np.array([x.label for x in examples], np.int32),
    valid=valid,
  )


def describe(rows: Sequence[Row]) -> BatchInfo:
  """Returns the BatchInfo of the rows of a batch."""
  examples = [row.example for row in rows]
  return BatchInfo(
    names=tuple(x.name if x else "" for x in examples),
    skipped=tuple(skip for row in rows for skip in row.skipped),
    dropped_tracks=sum(x.dropped_tracks for x in examples if x),
    captions_cut=sum(row.captions_cut for row in rows),
    captions_shortened=sum(row.captions_shortened for row in rows),
    labels=tuple(x.labels if x else () for x in examples),
  )
