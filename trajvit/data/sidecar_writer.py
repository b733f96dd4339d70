"""Sidecar pairs of long videos, written some frames at a time.

The files are those that `trajvit.data.tracks` writes, byte for byte. What is
held of a video meanwhile is the frames at hand and, for each frame, the numbers
of the tracks in it.
"""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np

from trajvit.data.whole_files import replacing


class SidecarWriter:
  """Writes a pair whose number of frames is known; a context manager.

  The block must append exactly so many frames. When it ends both files appear
  whole, the graph last; when it fails, neither does.

  Attributes:
    tracks: how many tracks the graph has, once the block has ended.
    dropped: how many more there were, of which the graph tells nothing.
  """

  def __init__(
    self,
    mask_path: str,
    graph_path: str,
    shape: tuple[int, int, int],
    *,
    frame_tracks: int,
    max_tracks: int,
  ):
    """Writes nothing yet.

    Args:
      mask_path: see `write_sidecars`.
      graph_path: likewise.
      shape: (T, H, W).
      frame_tracks: how many tracks a frame has at most; ids are uint8 up to
        255 and else uint16.
      max_tracks: M of the video. The tracks of the most pixels are kept, of
        equal ones the lower number; pixels of the others become -1.
    """
    self._paths = mask_path, graph_path
    self._shape, self._max_tracks = shape, max_tracks
    self._dtype = np.uint8 if frame_tracks <= 255 else np.uint16
    self._frame_tracks = frame_tracks
    self._seen = []  # the tracks of each frame, ascending: ids 1, 2, ...
    self._area = np.zeros(0, np.int64)
    self._stack = contextlib.ExitStack()
    self.tracks = self.dropped = 0

  def __enter__(self) -> "SidecarWriter":
    # A writer that fails removes its half of a file as the stack unwinds.
    self._file = self._stack.enter_context(
      npy_entry(self._paths[0], "arr_0", self._shape, self._dtype)
    )
    return self

  def append(self, labels: np.ndarray) -> None:
    """Adds frames.

    Args:
      labels: [n, H, W] signed integers, the number of the track or -1.

    Raises:
      ValueError: frames of another size, too many of them, or too many tracks
        in one.
    """
    if labels.shape[1:] != self._shape[1:] or (
      len(self._seen) + len(labels) > self._shape[0]
    ):
      raise ValueError(
        f"{self._paths[0]}: expected {self._shape} in all, got "
        f"{len(self._seen)} frames and {labels.shape}"
      )
    for frame in labels:
      seen, place, count = np.unique(
        frame, return_inverse=True, return_counts=True
      )
      first = int(np.searchsorted(seen, 0))  # 1 if there is a -1
      ids = np.arange(len(seen)) + 1 - first
      tracks, count = seen[first:].astype(np.int64), count[first:]
      if len(tracks) > self._frame_tracks:
        raise ValueError(
          f"{self._paths[0]}: frame {len(self._seen)} has {len(tracks)} "
          f"tracks, above {self._frame_tracks}"
        )
      if len(tracks) and tracks[-1] >= len(self._area):
        grown = np.zeros(int(tracks[-1]) + 1, np.int64)
        grown[: len(self._area)] = self._area
        self._area = grown
      self._area[tracks] += count
      self._seen.append(tracks)
      self._file.write(ids.astype(self._dtype)[place.ravel()].tobytes())

  def __exit__(self, kind, error, trace):
    if kind is not None:
      return self._stack.__exit__(kind, error, trace)
    with self._stack:  # on leaving it the mask is there
      if len(self._seen) != self._shape[0]:
        raise ValueError(
          f"{self._paths[0]}: expected {self._shape[0]} frames, "
          f"got {len(self._seen)}"
        )
      # A new mask beside the graph of an old one would pass for a pair.
      with contextlib.suppress(FileNotFoundError):
        os.unlink(self._paths[1])
    self._write_graph(self._kept())
    return None

  def _kept(self) -> np.ndarray:
    """Returns the numbers of the largest tracks, ascending."""
    present = np.flatnonzero(self._area)
    largest = np.argsort(-self._area[present], kind="stable")
    self.dropped = max(0, len(present) - self._max_tracks)
    self.tracks = len(present) - self.dropped
    return np.sort(present[largest[: self._max_tracks]])

  def _write_graph(self, kept: np.ndarray) -> None:
    """Writes the rows of the tracks that are kept, one after the other."""
    lengths = [len(tracks) for tracks in self._seen]
    track = np.concatenate([np.zeros(0, np.int64), *self._seen])
    frame = np.repeat(np.arange(len(lengths)), lengths)
    ids = np.concatenate(
      [np.zeros(0, np.int64), *(np.arange(n) + 1 for n in lengths)]
    )
    order = np.argsort(track, kind="stable")
    track, frame, ids = track[order], frame[order], ids[order]
    first = np.searchsorted(track, kept)
    last = np.searchsorted(track, kept, "right")
    shape = len(kept), len(lengths)
    with npy_entry(self._paths[1], "tensor", shape, np.int64) as file:
      for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        row = np.zeros(len(lengths), np.int64)
        row[frame[start:stop]] = ids[start:stop]
        file.write(row.tobytes())


@contextlib.contextmanager
def npy_entry(path: str, key: str, shape: tuple[int, ...], dtype) -> Iterator:
  """Opens an npz file of one array, to which the block writes the values.

  The file appears at `path` when the block ends, and not at all if it fails.

  Yields:
    What to `write` the bytes of the array to, in C order.
  """
  with (
    replacing(pathlib.Path(path)) as partial,
    zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    archive.open(f"{key}.npy", "w", force_zip64=True) as entry,
  ):
    header = {
      "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
      "fortran_order": False,
      "shape": shape,
    }
    np.lib.format.write_array_header_1_0(entry, header)
    yield entry
