"""Sidecar pairs of long videos, read some frames at a time.

What is held of a video is the frames at hand and the graph.
"""

import contextlib
import dataclasses
import tokenize
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from trajvit.data.tracks import label_map, load_sidecars

_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
_UNREADABLE = (
  ValueError,
  EOFError,
  KeyError,
  RuntimeError,  # an archive with a password, or packed in an unknown way
  SyntaxError,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)


def mask_shape(mask_path: str) -> tuple[int, int, int]:
  """Returns (T, H, W) of the mask of a video, of which only the head is read.

  Raises:
    ValueError: it is no such file; the message names it.
    OSError: it cannot be opened.
  """
  with _open_mask(mask_path) as mask:
    return mask.shape


def stream_labels(
  mask_path: str, graph_path: str | None, frames: int
) -> Iterator[np.ndarray]:
  """Yields the label map of a pair in pieces of `frames` frames.

  Args:
    mask_path: the file of per-frame ids.
    graph_path: the file that links them, or None for an image.
    frames: how many at a time; the last piece may have fewer.

  Yields:
    [n, H, W] int32, the row of the graph, or -1.

  Raises:
    ValueError: the files are not such a pair, naming the file.
    OSError: a file cannot be opened.
  """
  if graph_path is None:
    yield label_map(*load_sidecars(mask_path, None), name=mask_path)
    return
  graph = _load_graph(graph_path, mask_path)
  start = 0
  for mask in _mask_pieces(mask_path, frames):
    stop = start + len(mask)
    yield label_map(mask, graph[:, start:stop], name=graph_path)
    start = stop


def labels_at(
  mask_path: str, graph_path: str | None, indices: np.ndarray
) -> np.ndarray:
  """Returns the label map at some frames, holding no others.

  Args:
    mask_path: the file of per-frame ids.
    graph_path: the file that links them, or None for an image.
    indices: [n] frame numbers, in any order, also repeated.

  Returns:
    [n, H, W] int32, the row of the graph, or -1.

  Raises:
    ValueError: the files are not such a pair, or have no such frame.
    OSError: a file cannot be opened.
  """
  wanted, order = np.unique(indices, return_inverse=True)
  kept = [
    labels[0]
    for t, labels in enumerate(stream_labels(mask_path, graph_path, 1))
    if t in wanted
  ]
  if len(kept) != len(wanted):
    raise ValueError(f"{mask_path}: expected the frames {wanted.tolist()}")
  return np.stack(kept)[order]


def count_tracks(
  mask_path: str, graph_path: str, num_frames: int
) -> int | None:
  """Returns how many tracks a pair shows, or None if it is not a valid one.

  All of it is read: a pair that passes, of just so many frames, can be used.
  """
  seen = set()
  try:
    if mask_shape(mask_path)[0] != num_frames:
      return None
    for labels in stream_labels(mask_path, graph_path, 32):
      seen.update(np.unique(labels).tolist())
  except (ValueError, OSError):
    return None
  return len(seen - {-1})


@dataclasses.dataclass(frozen=True)
class _Mask:
  """An open mask: its values in order, (T, H, W), dtype and layout."""

  values: object
  shape: tuple[int, int, int]
  dtype: np.dtype
  fortran_order: bool


@contextlib.contextmanager
def _open_mask(path) -> Iterator[_Mask]:
  """Opens a mask; what is wrong with it is a ValueError that names it."""
  with open(path, "rb") as file:
    try:
      with zipfile.ZipFile(file) as archive, archive.open("arr_0.npy") as entry:
        version = np.lib.format.read_magic(entry)
        if version not in _HEADERS:
          raise ValueError(f"version {version} of the npy format")
        shape, fortran_order, dtype = _HEADERS[version](entry)
        if len(shape) != 3 or min(shape) < 0 or dtype.kind not in "ui":
          raise ValueError(
            "the mask of a video must be [T, H, W] integers, "
            f"got {dtype} {shape}"
          )
        yield _Mask(entry, shape, dtype, fortran_order)
    except _UNREADABLE as error:
      message = " ".join(str(error).split())
      raise ValueError(f"{path}: {message}") from error


def _mask_pieces(path, frames) -> Iterator[np.ndarray]:
  """Yields the ids of `frames` frames at a time, [n, H, W]."""
  with _open_mask(path) as mask:
    if mask.fortran_order:  # a frame is not in one place
      ids = np.frombuffer(mask.values.read(), mask.dtype)
      ids = ids.reshape(mask.shape, order="F")
      yield from (ids[t : t + frames] for t in range(0, len(ids), frames))
      return
    total, height, width = mask.shape
    size = height * width * mask.dtype.itemsize
    for start in range(0, total, frames):
      count = min(frames, total - start)
      content = mask.values.read(count * size)
      if len(content) < count * size:
        raise ValueError(f"{total} frames expected, some are missing")
      yield np.frombuffer(content, mask.dtype).reshape(count, height, width)
    if mask.values.read(1):
      raise ValueError(f"{total} frames expected, there are more")


def _load_graph(graph_path, mask_path) -> np.ndarray:
  """Returns the graph [M, T] that belongs to a mask."""
  num_frames = mask_shape(mask_path)[0]
  with open(graph_path, "rb") as file:
    if not zipfile.is_zipfile(file):
      raise ValueError(f"{graph_path}: expected an npz file")
  try:
    with np.load(graph_path, allow_pickle=False) as archive:
      graph = archive["tensor"]
  except _UNREADABLE as error:
    raise ValueError(f"{graph_path}: {error}") from error
  if graph.ndim != 2 or graph.dtype.kind not in "ui":
    raise ValueError(
      f"{graph_path}: a graph must be [M, T] integers, "
      f"got {graph.dtype} {graph.shape}"
    )
  if graph.shape[1] != num_frames:
    raise ValueError(
      f"{graph_path}: a graph of {graph.shape[1]} frames, "
      f"{mask_path} has {num_frames}"
    )
  return graph
