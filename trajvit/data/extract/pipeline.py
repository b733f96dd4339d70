"""Tracks of a clip from its pixels, with parts that can be replaced."""

from collections.abc import Callable

import numpy as np

from trajvit.data.extract.graph_merge import graph_tracks
from trajvit.data.extract.keyframes import key_frames as default_key_frames
from trajvit.data.extract.link import build_graph
from trajvit.data.extract.propagate import propagate
from trajvit.data.extract.segment import segment
from trajvit.data.tracks import label_map, limit_tracks

Segmenter = Callable[[np.ndarray], np.ndarray]
Tracker = Callable[[np.ndarray, np.ndarray], np.ndarray]
KeyFrames = Callable[[np.ndarray], list[int]]


def extract_tracks(
  frames: np.ndarray,
  *,
  max_tracks: int = 64,
  segmenter: Segmenter | None = None,
  tracker: Tracker | None = None,
  key_frames: KeyFrames | None = None,
) -> np.ndarray:
  """Returns regions followed through a clip, a label map like `Clip.tracks`.

  With nothing to replace, the whole clip is segmented at once, see
  `graph_merge`. With any of the three parts given, it is done as TrajViT does
  (arXiv:2505.23617): `segmenter` finds masks in every key frame, `tracker`
  follows them up to the next one, and masks that meet there with an IoU of at
  least a half become one track; parts that are not given have their default.
  The same frames give the same tracks in any process.

  Args:
    frames: [T, H, W, 3] uint8 RGB; an image is a clip of one frame.
    max_tracks: M; the largest M tracks are kept.
    segmenter: frame [H, W, 3] uint8 -> masks [n, H, W] bool.
    tracker: (frames [L, H, W, 3] uint8, masks [n, H, W] bool) -> [L, n, H, W]
      bool, row 0 equal to `masks`. It is not called when there are no masks.
    key_frames: frames [T, H, W, 3] uint8 -> ascending frame numbers from 0.

  Returns:
    [T, H, W] int32 in [0, M), or -1 where there is no track.

  Raises:
    ValueError: the frames, or what a part returns, are not as above.
  """
  _check_frames(frames)
  if max_tracks < 1:
    raise ValueError(f"max_tracks must be at least 1, got {max_tracks}")
  if segmenter is None and tracker is None and key_frames is None:
    return graph_tracks(frames, max_tracks)

  starts = _checked_key_frames(key_frames or default_key_frames, frames)
  chunks = []
  for start, end in zip(starts, [*starts[1:], len(frames) - 1], strict=True):
    chunk = frames[start : end + 1]  # with the next key frame
    masks = _checked_masks(segmenter or segment, chunk[0])
    chunks.append(_checked_tracked(tracker or propagate, chunk, masks))
  return limit_tracks(label_map(*build_graph(chunks)), max_tracks)[0]


def _check_frames(frames) -> None:
  """Raises ValueError for what is not a clip."""
  shape = getattr(frames, "shape", ())
  fits = len(shape) == 4 and shape[3] == 3 and min(shape) > 0
  if not fits or frames.dtype != np.uint8:
    raise ValueError(
      "frames must be [T, H, W, 3] uint8, "
      f"got {getattr(frames, 'dtype', type(frames).__name__)} {shape}"
    )


def _checked_key_frames(find: KeyFrames, frames) -> list[int]:
  starts = [int(start) for start in find(frames)]
  ascending = all(a < b for a, b in zip(starts, starts[1:], strict=False))
  if not starts or starts[0] != 0 or starts[-1] >= len(frames) or not ascending:
    raise ValueError(
      f"key_frames must return ascending frame numbers from 0 below "
      f"{len(frames)}, got {starts}"
    )
  return starts


def _checked_masks(segmenter: Segmenter, frame) -> np.ndarray:
  masks = segmenter(frame)
  _check_bool("segmenter", masks, ("n", *frame.shape[:2]))
  return masks


def _checked_tracked(tracker: Tracker, frames, masks) -> np.ndarray:
  if not len(masks):
    return np.zeros((len(frames), *masks.shape), bool)
  tracked = tracker(frames, masks)
  _check_bool("tracker", tracked, (len(frames), *masks.shape))
  if not np.array_equal(tracked[0], masks):
    raise ValueError("tracker must return the masks it was given in row 0")
  return tracked


def _check_bool(part, array, shape) -> None:
  """Raises ValueError unless `array` is bool of `shape`; "n" is any length."""
  if not isinstance(array, np.ndarray):
    raise ValueError(
      f"{part} must return a NumPy array, got {type(array).__name__}"
    )
  fits = len(array.shape) == len(shape) and all(
    want in ("n", got) for want, got in zip(shape, array.shape, strict=True)
  )
  if not fits or array.dtype != bool:
    wanted = ", ".join(map(str, shape))
    raise ValueError(
      f"{part} must return bool [{wanted}], got {array.dtype} {array.shape}"
    )
