"""Sidecar pairs of long videos, read some frames at a time.

What is held of a video is the frames at hand and the graph.
"""

import contextlib
from collections.abc import Iterator

import numpy as np

from trajvit.data.media import Media
from trajvit.data.npy_stream import ArrayStream, open_array
from trajvit.data.tracks import label_map, load_sidecars

_FRAMES = 32  # read at a time where nobody says how many


class SidecarReader:
  """An open pair of a video, read once; see `open_sidecars`.

  Attributes:
    shape: (T, H, W).
  """

  def __init__(self, mask: ArrayStream, graph: np.ndarray, name: str):
    """Takes the open mask, the graph [M, T], and what messages call it."""
    self.shape = mask.shape
    self._mask, self._graph, self._name = mask, graph, name

  def pieces(self, frames: int) -> Iterator[np.ndarray]:
    """Yields the label map, [n, H, W] int32 for `frames` frames at a time.

    Raises:
      ValueError: the files are damaged or disagree.
    """
    for start in range(0, max(self.shape[0], 1), frames):
      mask = self._mask.read(frames)
      links = self._graph[:, start : start + frames]
      yield label_map(mask, links, name=self._name)

  def labels_at(self, indices: np.ndarray) -> np.ndarray:
    """Returns the label map at some frames.

    The file is read to its end all the same: whether it is damaged does not
    depend on the frames that are asked for.

    Args:
      indices: [n] frame numbers in [0, T), in any order, also repeated.

    Returns:
      [n, H, W] int32, the row of the graph, or -1.

    Raises:
      ValueError: the files are damaged or disagree.
    """
    indices = np.asarray(indices)
    ids = np.empty((len(indices), *self.shape[1:]), self._mask.dtype)
    for start in range(0, max(self.shape[0], 1), _FRAMES):
      mask = self._mask.read(_FRAMES)
      for row, index in enumerate((indices - start).tolist()):
        if 0 <= index < len(mask):
          ids[row] = mask[index]
    return label_map(ids, self._graph[:, indices], name=self._name)


@contextlib.contextmanager
def open_sidecars(
  mask_file: Media, graph_file: Media
) -> Iterator[SidecarReader]:
  """Opens the sidecar pair of a video for a `with` block.

  Raises:
    ValueError: the files are not such a pair or disagree about T; the message
      names the file.
    OSError: a file cannot be opened.
  """
  with open_array(mask_file, "arr_0") as mask:
    if len(mask.shape) != 3:
      raise ValueError(
        f"{mask.name}: the mask of a video must be [T, H, W] integers, "
        f"got {mask.dtype} {mask.shape}"
      )
    with open_array(graph_file, "tensor") as stream:
      name, shape = stream.name, stream.shape
      if len(shape) != 2:
        raise ValueError(
          f"{name}: a graph must be [M, T] integers, got {stream.dtype} {shape}"
        )
      if shape[1] != mask.shape[0]:
        raise ValueError(
          f"{name}: a graph of {shape[1]} frames, {mask.name} has "
          f"{mask.shape[0]}"
        )
      graph = stream.read(shape[0])
    yield SidecarReader(mask, graph, name)


def stream_labels(
  mask_path: Media, graph_path: Media | None, frames: int = _FRAMES
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
    yield label_map(*load_sidecars(mask_path, None), name=str(mask_path))
    return
  with open_sidecars(mask_path, graph_path) as pair:
    yield from pair.pieces(frames)


def count_tracks(
  mask_path: str, graph_path: str, num_frames: int
) -> int | None:
  """Returns how many tracks a pair shows, or None if it is not a valid one.

  All of it is read: a pair that passes, of just so many frames, can be used.
  """
  seen = set()
  try:
    with open_sidecars(mask_path, graph_path) as pair:
      if pair.shape[0] != num_frames:
        return None
      for labels in pair.pieces(_FRAMES):
        seen.update(np.unique(labels).tolist())
  except (ValueError, OSError):
    return None
  return len(seen - {-1})
