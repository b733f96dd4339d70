"""The arrays a user hands an exported encoder, checked, at its shapes."""

import numpy as np

from trajvit.export.frames import expected_frames, takes_frames


def as_frames(video, preprocessing: dict) -> tuple[np.ndarray, bool]:
  """Returns frames uint8 [B, T, H, W, 3], and whether B was added.

  Args:
    video: uint8 RGB, [B, T, H, W, 3] or [T, H, W, 3]; T as `export.frames`
      says.
    preprocessing: of the export.

  Raises:
    ValueError: another dtype or shape.
  """
  video = np.asarray(video)
  size = preprocessing["size"]
  single = video.ndim == 4
  batch = video[None] if single else video
  known = batch.ndim == 5 and takes_frames(batch.shape[1], preprocessing)
  known &= batch.shape[2:] == (size, size, 3) and len(batch) > 0
  if video.dtype != np.uint8 or not known:
    frames, note = expected_frames(preprocessing)
    expected = f"{frames}, {size}, {size}, 3"
    raise ValueError(
      f"video must be uint8 RGB in [0, 255], [B, {expected}] or [{expected}], "
      f"got {video.dtype} {list(video.shape)}{note}"
    )
  return batch, single


def as_tracks(
  tracks, clips: tuple[int, int], preprocessing: dict
) -> np.ndarray:
  """Returns tracks int32 [B, T, h, w] on the grid of the encoder.

  Args:
    tracks: integers in [0, M), or -1 for none, [B, T, h, w], or [T, h, w] for
      a single clip; on the grid or at pixel resolution, where a cell takes the
      label of the pixel in its middle.
    clips: (B, T) of the frames.
    preprocessing: of the export.

  Raises:
    ValueError: another dtype or shape, or ids out of range.
  """
  tracks = np.asarray(tracks)
  size, grid = preprocessing["size"], preprocessing["tracks"]["grid"]
  given = tracks[None] if tracks.ndim == 3 else tracks
  known = given.shape in ((*clips, grid, grid), (*clips, size, size))
  if not (known and np.issubdtype(tracks.dtype, np.integer)):
    raise ValueError(
      f"tracks must be integers, {list(clips)} and a label map of {grid} x "
      f"{grid} cells or {size} x {size} pixels, got {tracks.dtype} "
      f"{list(tracks.shape)}"
    )
  count = preprocessing["tracks"]["max_tracks"]
  if given.size and (given.min() < -1 or given.max() >= count):
    raise ValueError(
      f"track ids must be in [0, {count}), or -1 for none, "
      f"got {given.min()} to {given.max()}"
    )
  if given.shape[-1] != grid:
    given = at_cell_corners(given, grid)
  return given.astype(np.int32)


def at_cell_corners(tracks: np.ndarray, grid: int) -> np.ndarray:
  """Returns the labels of top left pixels, [..., H, W] -> [..., h, w].

  It is how the sources of `trajvit.data` shrink label maps, after TrajViT.
  """
  stride = tracks.shape[-1] // grid
  return tracks[..., ::stride, ::stride]


def as_text(ids, mask, text: dict) -> tuple[np.ndarray, np.ndarray]:
  """Returns ids int32 and mask bool, both [B, L].

  Args:
    ids: integers in [0, vocab_size), [B, L].
    mask: bool, [B, L], True = real word.
    text: the part of the preprocessing on text.

  Raises:
    ValueError: another dtype or shape, or ids out of range.
  """
  ids, mask = np.asarray(ids), np.asarray(mask)
  shape = ids.shape
  right = ids.ndim == 2 and len(ids) and shape[1] == text["length"]
  if not right or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
      f"ids must be integers [B, {text['length']}], "
      f"got {ids.dtype} {list(shape)}"
    )
  if mask.dtype != np.bool_ or mask.shape != shape:
    raise ValueError(
      f"mask must be bool {list(shape)} as the ids, "
      f"got {mask.dtype} {list(mask.shape)}"
    )
  if ids.min() < 0 or ids.max() >= text["vocab_size"]:
    raise ValueError(
      f"ids must be in [0, {text['vocab_size']}), "
      f"got {ids.min()} to {ids.max()}"
    )
  return ids.astype(np.int32), mask
