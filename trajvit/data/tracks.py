"""Track sidecars: TrajViT's pair of files, read to one label map and back.

A video `clip.mp4`, or `clip_short.mp4`, has two files beside it:

  clip_mask.npz    `arr_0` [T, H, W] uint8 or uint16: region ids that hold for
                   one frame only, 0 = none; [H, W] for an image
  clip_graph.npz   `tensor` [M, T] int64: row m says which id track m carries in
                   frame t, 0 = absent; an image needs no graph

Inside this codebase both become one label map [T, H, W] int32: the row of the
graph that owns a pixel, -1 for none. Two deviations of the files from their
own rules are common and harmless: an entry of the graph whose id has no pixel
in that frame counts as absent, and pixels whose id no row claims are -1.
Source: TrajViT, arXiv:2505.23617, and the files its code writes.
"""

import contextlib
import os
import pathlib
import tempfile

import numpy as np

from trajvit.data.media import Media, media_name
from trajvit.data.npy_stream import open_array

_MAX_ID = np.iinfo(np.uint16).max


def sidecar_paths(video_path: str | os.PathLike) -> tuple[str, str]:
  """Returns the (mask, graph) paths that belong to a video or image."""
  path = pathlib.Path(video_path)
  stem = path.stem.removesuffix("_short")
  return str(path.with_name(f"{stem}_mask.npz")), str(
    path.with_name(f"{stem}_graph.npz")
  )


def read_sidecars(
  mask_path: str, graph_path: str | None, num_frames: int
) -> np.ndarray:
  """Returns the label map of a sidecar pair.

  Args:
    mask_path: the file of per-frame ids.
    graph_path: the file that links them, or None for an image.
    num_frames: how many frames the tracks must have.

  Returns:
    [T, H, W] int32, the row of the graph, or -1.

  Raises:
    ValueError: the files are not such a pair, or disagree with each other or
      with `num_frames`; the message names the file and the numbers.
    OSError: a file cannot be opened.
  """
  mask, graph = load_sidecars(mask_path, graph_path)
  if len(mask) != num_frames:
    raise ValueError(
      f"{mask_path}: {len(mask)} frames of tracks for a clip of {num_frames}"
    )
  return label_map(mask, graph, name=graph_path or mask_path)


def load_sidecars(
  mask_file: Media, graph_file: Media | None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the arrays of a sidecar pair as they are stored.

  Args:
    mask_file: the file of per-frame ids.
    graph_file: the file that links them, or None for an image, whose ids
      1..max are its tracks.

  Returns:
    mask: [T, H, W], T = 1 for an image.
    graph: [M, T].

  Raises:
    ValueError: not npz files with these arrays, or the two disagree about T.
    OSError: a file cannot be opened.
  """
  mask = _load(mask_file, "arr_0")
  if graph_file is None:
    _check_shape(mask_file, "the mask of an image", mask, "H, W")
    ids = np.arange(1, int(mask.max(initial=0)) + 1)
    return mask[None], ids[:, None]
  _check_shape(mask_file, "the mask of a video", mask, "T, H, W")
  graph = _load(graph_file, "tensor")
  _check_shape(graph_file, "a graph", graph, "M, T")
  if graph.shape[1] != len(mask):
    raise ValueError(
      f"{media_name(graph_file)}: a graph of {graph.shape[1]} frames, "
      f"{media_name(mask_file)} has {len(mask)}"
    )
  return mask, graph


def label_map(
  mask: np.ndarray, graph: np.ndarray, *, name: str = "tracks"
) -> np.ndarray:
  """Returns which track owns each pixel.

  Args:
    mask: [T, H, W] integers from 0 to 65535, ids local to a frame, 0 = none.
    graph: [M, T] integers from 0 up, the id of track m in frame t, 0 = absent.
    name: what messages call them.

  Returns:
    [T, H, W] int32, the row of `graph`, or -1.

  Raises:
    ValueError: shapes or dtypes disagree, an id is negative or larger than the
      dtype of `mask` can hold, or two tracks claim an id in one frame.
  """
  if mask.ndim != 3 or graph.ndim != 2 or graph.shape[1] != len(mask):
    raise ValueError(
      f"{name}: expected a mask [T, H, W] and a graph [M, T], "
      f"got {mask.shape} and {graph.shape}"
    )
  for what, ids in ("mask", mask), ("graph", graph):
    if ids.dtype.kind not in "ui":
      raise ValueError(f"{name}: {what} must hold integers, got {ids.dtype}")
  max_id = min(np.iinfo(mask.dtype).max, _MAX_ID)
  for what, ids in ("mask", mask), ("graph", graph):
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high > max_id:
      raise ValueError(
        f"{name}: {what} ids must be from 0 to {max_id}, "
        f"got {low if low < 0 else high}"
      )

  labels = np.empty(mask.shape, np.int32)
  for t, (frame, ids) in enumerate(zip(mask, graph.T, strict=True)):
    rows = np.flatnonzero(ids)
    claimed, claims = np.unique(ids[rows], return_counts=True)
    if (claims > 1).any():
      twice = claimed[claims > 1][0]
      raise ValueError(
        f"{name}: id {twice} of frame {t} is in rows "
        f"{np.flatnonzero(ids == twice).tolist()} of the graph"
      )
    owner = np.full(max_id + 1, -1, np.int32)
    owner[ids[rows]] = rows
    labels[t] = owner[frame]
  return labels


def sidecar_arrays(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the arrays of a sidecar pair: the inverse of `label_map`.

  Args:
    labels: [T, H, W] integers, the track of each pixel or -1.

  Returns:
    mask: [T, H, W] uint8, or uint16 if a frame has more than 255 tracks; the
      ids of a frame are 1..n without a gap.
    graph: [M, T] int64 with M = labels.max() + 1; the row of a label that has
      no pixel at all is 0 throughout.

  Raises:
    ValueError: not a label map, or a frame with more than 65535 tracks.
  """
  if labels.ndim != 3 or labels.dtype.kind != "i" or labels.min(initial=0) < -1:
    raise ValueError(
      "labels must be [T, H, W] signed integers from -1 up, "
      f"got {labels.dtype} {labels.shape} from {labels.min(initial=0)}"
    )
  mask = np.zeros(labels.shape, np.uint16)
  graph = np.zeros((int(labels.max(initial=-1)) + 1, len(labels)), np.int64)
  for t, frame in enumerate(labels):
    present = np.unique(frame[frame >= 0])
    if len(present) > _MAX_ID:
      raise ValueError(f"frame {t} has {len(present)} tracks, above {_MAX_ID}")
    graph[present, t] = np.arange(1, len(present) + 1)
    ids = np.append(graph[:, t], 0)  # label -1 finds the 0 at the end
    mask[t] = ids[frame]
  if mask.max(initial=0) <= np.iinfo(np.uint8).max:
    mask = mask.astype(np.uint8)
  return mask, graph


def write_sidecars(
  mask_path: str, graph_path: str | None, labels: np.ndarray
) -> None:
  """Writes a label map as a sidecar pair, compressed.

  Each file appears whole or not at all, the graph last: where a graph is, its
  mask is too.

  Args:
    mask_path: where the per-frame ids go, ending in `_mask.npz`.
    graph_path: where their links go, ending in `_graph.npz`; None for an image,
      whose mask is stored as [H, W] and whose labels have no gaps.
    labels: [T, H, W] integers, the track of each pixel or -1.

  Raises:
    ValueError: `labels` is not a label map, or not that of an image.
  """
  mask, graph = sidecar_arrays(labels)
  if graph_path is None:
    if len(mask) != 1 or not graph.all():
      raise ValueError(
        f"{mask_path}: an image has one frame and labels without gaps, got "
        f"{len(mask)} frames and {int((~graph.any(1)).sum())} gaps"
      )
    _save(mask_path, arr_0=mask[0])
    return
  _save(mask_path, arr_0=mask)
  _save(graph_path, tensor=graph)


def compact_tracks(labels: np.ndarray) -> np.ndarray:
  """Returns `labels` [T, H, W] renumbered to 0..n-1, order kept, no gaps."""
  return limit_tracks(labels, labels.size)[0]


def limit_tracks(labels: np.ndarray, max_tracks: int) -> tuple[np.ndarray, int]:
  """Keeps the largest tracks and renumbers them to 0..n-1, order kept.

  Args:
    labels: [T, H, W] int32, the track of each pixel or -1; gaps are allowed.
    max_tracks: M. Size is the number of pixels over all frames; of two equal
      ones the lower label stays.

  Returns:
    The labels, int32, where dropped tracks are -1; and how many were dropped.
  """
  present, area = np.unique(labels[labels >= 0], return_counts=True)
  largest = np.argsort(-area, kind="stable")[:max_tracks]
  kept = present[np.sort(largest)]
  renumbered = np.full(int(labels.max(initial=-1)) + 2, -1, np.int32)
  renumbered[kept] = np.arange(len(kept))  # the last entry serves label -1
  return renumbered[labels], len(present) - len(kept)


def _check_shape(file, what, array, letters) -> None:
  if array.ndim != len(letters.split(", ")):
    raise ValueError(
      f"{media_name(file)}: {what} must be [{letters}] integers, "
      f"got {array.dtype} {array.shape}"
    )


def _load(file: Media, key: str) -> np.ndarray:
  """Reads one array of an npz file, and never runs code from it."""
  with open_array(file, key) as stream:
    return stream.whole()


def _save(path: str, **arrays) -> None:
  """Writes an npz file beside `path` and moves it there."""
  folder = os.path.dirname(path) or "."
  handle, name = tempfile.mkstemp(suffix=".partial", dir=folder)
  try:
    with os.fdopen(handle, "wb") as file:
      np.savez_compressed(file, **arrays)
    os.chmod(name, 0o644)  # mkstemp makes it readable by its owner only
    os.replace(name, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(name)
    raise
